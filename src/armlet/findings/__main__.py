"""`python -m armlet.findings` prints docs/findings.md."""

from .page import page

if __name__ == "__main__":
    print(page(), end="")
