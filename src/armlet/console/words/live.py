"""What the page of the running graph says."""

from .text import Text

TEXTS = {
    "live.title": Text("Live", "实时"),
    "live.no_arm": Text("no servo_bus heard yet", "还没有收到 servo_bus 的消息"),
}
