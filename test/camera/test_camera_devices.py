import pytest
from fake_camera import node

from armlet.camera import CameraError
from armlet.camera.devices import find_again, node_at, video_nodes


class Machine:
    """A folder that looks like /sys and /dev with cameras plugged in."""

    def __init__(self, root):
        self.root = root
        (root / "sys/class/video4linux").mkdir(parents=True)

    def plug(self, number, port, serial="", index=0, name="Arm Cam"):
        usb = self.root / "sys/devices/usb1" / port
        interface = usb / f"{port}:1.0"
        interface.mkdir(parents=True, exist_ok=True)
        (usb / "idVendor").write_text("1234\n")
        (usb / "idProduct").write_text("5678\n")
        if serial:
            (usb / "serial").write_text(f"{serial}\n")
        entry = interface / "video4linux" / f"video{number}"
        entry.mkdir(parents=True)
        (entry / "name").write_text(f"{name}\n")
        (entry / "index").write_text(f"{index}\n")
        (entry / "device").symlink_to(interface)
        (self.root / "sys/class/video4linux" / entry.name).symlink_to(entry)

    def link(self, folder, name, number):
        place = self.root / "dev/v4l" / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(f"../../video{number}")


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_cameras_in_order_with_their_lasting_names(machine):
    machine.plug(10, "1-3", name="Second")
    machine.plug(2, "1-2", serial="S1")
    machine.plug(3, "1-2", index=1)
    machine.link("by-path", "pci-0-usb-0:2:1.0-video-index0", 2)
    machine.link("by-id", "usb-Arm_Cam_S1-video-index0", 2)
    first, metadata, second = video_nodes(machine.root)
    assert [first.path, metadata.path, second.path] == [
        "/dev/video2",
        "/dev/video3",
        "/dev/video10",
    ]
    assert (first.name, first.serial, first.product) == ("Arm Cam", "S1", "1234:5678")
    assert first.best_path == "/dev/v4l/by-id/usb-Arm_Cam_S1-video-index0"
    assert first.stable_paths[1].startswith("/dev/v4l/by-path/")
    assert second.best_path == "/dev/video10"
    assert (first.index, metadata.index) == (0, 1)
    assert first.port == metadata.port != second.port


@pytest.mark.parametrize("serial", ["S1", ""])
@pytest.mark.parametrize("ports", [("1-2", "1-3"), ("1-3", "1-2")])
def test_cameras_of_one_serial_number_are_named_by_their_port(machine, serial, ports):
    """udev keeps one link by-id for both, to the one it saw last: they would be swapped."""
    for number, port in enumerate(ports):
        machine.plug(number, port, serial)
        machine.link("by-path", f"pci-0-usb-0:{port}:1.0-video-index0", number)
    shared = f"usb-Arm_Cam_{serial or '1234'}-video-index0"
    machine.link("by-id", shared, 1)
    nodes = video_nodes(machine.root)
    for found, port in zip(nodes, ports, strict=True):
        assert found.best_path == f"/dev/v4l/by-path/pci-0-usb-0:{port}:1.0-video-index0"
    assert nodes[1].shared_paths == (f"/dev/v4l/by-id/{shared}",)
    assert node_at(f"/dev/v4l/by-id/{shared}", nodes) == nodes[1]


def test_a_machine_without_cameras(tmp_path):
    assert video_nodes(tmp_path) == ()


def test_a_camera_without_usb_descriptors(machine):
    entry = machine.root / "sys/devices/virtual/video4linux/video7"
    entry.mkdir(parents=True)
    (entry / "name").write_text("Loopback\n")
    (machine.root / "sys/class/video4linux/video7").symlink_to(entry)
    (found,) = video_nodes(machine.root)
    assert (found.name, found.serial, found.index) == ("Loopback", "", 0)


def test_a_node_by_any_of_its_paths():
    link = "/dev/v4l/by-id/usb-x"
    nodes = (node(0), node(1, serial="S2", links=[link]))
    assert node_at("/dev/video0", nodes) is nodes[0]
    assert node_at(link, nodes) is nodes[1]
    assert node_at("/dev/video9", nodes) is None


def test_a_serial_number_is_found_at_another_port():
    assert find_again(node(0), (node(3, port="usb1/1-4"),)).path == "/dev/video3"


def test_without_a_serial_number_the_port_decides():
    known = node(0, serial="")
    nodes = (node(0, serial="", port="usb1/1-3"), node(5, serial=""))
    assert find_again(known, nodes).path == "/dev/video5"
    with pytest.raises(CameraError, match="is not plugged in; cameras there: /dev/video0"):
        find_again(known, nodes[:1])


def test_two_cameras_of_one_serial_number_are_distinguished_by_port():
    known = node(0)
    twin = node(0, port="usb1/1-3")
    assert find_again(known, (twin, node(4))).path == "/dev/video4"
    other_twin = node(6, port="usb1/1-9")
    with pytest.raises(CameraError, match="/dev/video0, /dev/video6 both claim to be it"):
        find_again(known, (twin, other_twin))


def test_another_kind_of_camera_is_never_taken():
    other = node(0, name="x")
    changed = type(other)(**{**vars(other), "product": "9999:0001"})
    with pytest.raises(CameraError, match="is not plugged in"):
        find_again(node(0), (changed,))
    with pytest.raises(CameraError, match="cameras there: none"):
        find_again(node(0), ())
