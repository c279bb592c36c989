"""What `armlet doctor` looks at: each check a small function, each answer a Finding."""

from armlet.preflight.finding import Check as Check
from armlet.preflight.finding import examine as examine
