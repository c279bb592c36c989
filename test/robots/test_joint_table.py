"""A table of joints in pictures: what is written is read, what is wrong is named by its line."""

import pytest

from armlet.files import FileError
from armlet.robots.joint_table import joint_table, read_joint_table

LIMITS = {"pan": (-1.0, 1.0), "lift": (-0.5, 2.0)}


@pytest.fixture
def table(tmp_path):
    def written(text):
        path = tmp_path / "joints.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return written


def test_what_is_written_is_read_again(table):
    rows = {"b.png": {"pan": 0.25, "lift": -0.5}, "a.png": {"pan": -1.0, "lift": 1.75}}
    assert read_joint_table(table(joint_table(rows)), LIMITS) == rows
    assert [*read_joint_table(table(joint_table(rows)), LIMITS)] == ["b.png", "a.png"]


def test_columns_in_any_order_others_beside_them_and_empty_lines(table):
    text = "\ufefflift, picture ,time,pan\n1.5,a.png,12,0.5\n\n,,,\n"
    assert read_joint_table(table(text), LIMITS) == {"a.png": {"pan": 0.5, "lift": 1.5}}


def test_a_joint_may_be_read_a_little_beyond_its_range(table):
    assert read_joint_table(table("picture,pan,lift\na,1.1,-0.6\n"), LIMITS)["a"]["pan"] == 1.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one column picture, pan, lift, found columns none"),
        (
            "picture,pan\na,0\n",
            "one column lift, found columns picture, pan; its first line is pic",
        ),
        ("picture,pan,pan,lift\na,0,0,0\n", "one column pan, found"),
        ("picture,pan,lift\na,0\n", "line 2: expected 3 values, found 2"),
        ("picture,pan,lift\na,0,nan\n", "line 2: lift: expected a finite number, found 'nan'"),
        ("picture,pan,lift\na,0,1e999\n", "expected a finite number"),
        ("picture,pan,lift\na,0,x\n", "expected a finite number, found 'x'"),
        ("picture,pan,lift\na,0,0\nb,45,0\n", "line 3: pan: expected radians from -1.00 to 1.00"),
        ("picture,pan,lift\na,0,0\na,0,0\n", "line 3: 'a' stands in two lines"),
        ('picture,pan,lift\n"a,0,0\n', "expected CSV"),
        (b"picture,\xff\n", "not UTF-8"),
    ],
)
def test_what_is_wrong_is_named(table, text, message):
    with pytest.raises(FileError, match=message):
        read_joint_table(table(text), LIMITS)


def test_a_table_that_is_missing_says_what_it_is(tmp_path):
    with pytest.raises(FileError, match=r"no table of joints .*picture,pan,lift"):
        read_joint_table(tmp_path / "joints.csv", LIMITS)
