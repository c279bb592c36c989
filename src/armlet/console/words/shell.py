"""What is on every page."""

from .text import Text

TEXTS = {
    "shell.title": Text("armlet console", "armlet 控制台"),
    "shell.pages": Text("Pages", "页面"),
    "shell.to_content": Text("Skip to the content", "跳到正文"),
    "shell.language": Text("Language", "语言"),
    "shell.theme": Text("Light or dark", "浅色或深色"),
    "shell.theme.auto": Text("as the system", "跟随系统"),
    "shell.theme.light": Text("light", "浅色"),
    "shell.theme.dark": Text("dark", "深色"),
    "stop.button": Text("STOP", "停止"),
    "stop.key": Text("key x", "按键 x"),
    "stop.label": Text(
        "STOP: torque off on every arm of this graph. Key x; Alt+X while you type in a field",
        "停止：关闭此系统所有机械臂的扭矩。按键 x；在输入框中为 Alt+X",
    ),
    "stop.sending": Text(
        "STOP is being sent; cut the power if the arm still moves",
        "正在发送停止；如果机械臂仍在动，请切断电源",
    ),
    "stop.not_sent": Text(
        "STOP NOT SENT: the console does not answer; cut the power. Trying again",
        "停止未送达：控制台没有应答，请切断电源。正在重试",
    ),
    "stop.refused": Text(
        "STOP REFUSED by the console ({status}): reload the page; cut the power if the arm moves",
        "控制台拒绝了停止（{status}）：请重新加载页面；如果机械臂在动，请切断电源",
    ),
    "stop.done": Text("Stopped", "已停止"),
}
