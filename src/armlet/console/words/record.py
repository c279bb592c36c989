"""The page on which a person records."""

from .text import Text

TEXTS = {
    "record.title": Text("Record", "录制"),
    "record.board": Text("Recorder", "录制器"),
    "record.state.absent": Text("NO RECORDER", "没有录制器"),
    "record.state.silent": Text("THE RECORDER IS SILENT", "录制器无响应"),
    "record.state.failed": Text("NOT RECORDED", "未录制"),
    "record.state.recording": Text("RECORDING", "正在录制"),
    "record.state.reset": Text("RESET THE SCENE", "请复位场景"),
    "record.state.blocked": Text("CANNOT RECORD", "无法录制"),
    "record.state.done": Text("ALL RECORDED", "全部录完"),
    "record.state.ready": Text("READY", "就绪"),
    "record.rows": Text("episode {episode} · {rows} rows", "回合 {episode} · {rows} 行"),
    "record.next": Text("until episode {episode} begins", "后开始回合 {episode}"),
    "record.since": Text("since it was last heard", "未收到消息"),
    "record.of_wanted": Text("of {wanted} episodes", "/ {wanted} 个回合"),
    "record.in_dataset": Text("episodes in the dataset", "个回合在数据集中"),
    "record.of": Text("{count} of {wanted} episodes", "{count} / {wanted} 个回合"),
    "record.episodes": Text("{count} episodes", "{count} 个回合"),
    "record.absent": Text(
        "no recorder runs here; armlet up record, or a graph with root:=FOLDER, has one",
        "此处没有运行 recorder；armlet up record 或带 root:=FOLDER 的系统会启动它",
    ),
    "record.was_recording": Text(
        "It was recording. What it had received is on its disk: the next start of a recorder, or "
        "armlet dataset repair, makes an episode of it",
        "它当时正在录制。已收到的数据在磁盘上：下次启动录制器或运行 armlet dataset repair "
        "会把它保存为回合",
    ),
    "record.was_idle": Text("It was not recording", "它当时没有在录制"),
    "record.silent_fix": Text(
        "Look at the terminal where the graph runs, and start it again if it has ended",
        "请查看运行系统的终端；如果已退出，请重新启动",
    ),
    "record.at_stake": Text(
        "Discard would lose {rows} rows, {seconds} s", "丢弃会失去 {rows} 行，{seconds} 秒"
    ),
    "record.reset_lines": Text(
        "Put everything back. Start begins at once; End series begins no more",
        "请把物体放回原处。“开始”立即开始；“结束连续录制”不再自动开始",
    ),
    "record.ready_lines": Text("Start, or the space key", "点击“开始”或按空格键"),
    "record.failed_next": Text(
        "Go on (space) accepts that; Record again (r) begins at once",
        "“继续”（空格）确认；“重新录制”（r）立即开始",
    ),
    "record.last_failed": Text("THE LAST RECORDING WAS NOT SAVED", "上一次录制未保存"),
    "record.failure.gap": Text(
        "Frames are missing in the middle. Fix the stream that is named, then record again",
        "中间缺少帧。请修复提到的数据流，然后重新录制",
    ),
    "record.failure.silence": Text(
        "No frames came. See the findings below for the stream that stopped",
        "没有收到帧。请在下面的检查结果中查看停止的数据流",
    ),
    "record.failure.bad_frame": Text(
        "A frame did not fit the dataset. See the recorder's log",
        "有一帧与数据集不符。请查看录制器日志",
    ),
    "record.failure.too_short": Text(
        "Shorter than min_episode_s. Record a longer episode, or lower that parameter",
        "短于 min_episode_s。请录制更长的回合，或调低该参数",
    ),
    "record.failure.disk_short": Text(
        "The disk is nearly full; what came before is saved. Make room, or record elsewhere",
        "磁盘快满了；之前的数据已保存。请腾出空间，或录制到其他磁盘",
    ),
    "record.failure.write_failed": Text(
        "Writing failed; what was on the disk is kept, and saved at the next start. Make room and "
        "look at the disk",
        "写入失败；磁盘上已有的数据会保留，并在下次开始时保存。请腾出空间并检查磁盘",
    ),
    "record.failure.other": Text("See the recorder's log", "请查看录制器日志"),
    "record.fix.task": Text(
        "Write below what the episodes show, and press Set",
        "请在下面写明回合的任务，然后点击“设置”",
    ),
    "record.fix.episodes": Text(
        "For more, raise the number of episodes below and press Set",
        "如需更多，请在下面增大回合数，然后点击“设置”",
    ),
    "record.progress": Text("of {seconds} s", "共 {seconds} 秒"),
    "record.keys": Text(
        "Keys as in armlet session: space, d, r, s, f, t, e; not while you type in a field",
        "按键与 armlet session 相同：空格、d、r、s、f、t、e；在输入框中打字时不起作用",
    ),
    "record.do.start": Text("Start", "开始"),
    "record.do.stop": Text("Stop", "停止录制"),
    "record.do.go_on": Text("Go on", "继续"),
    "record.do.d": Text("Discard", "丢弃"),
    "record.do.r": Text("Record again", "重新录制"),
    "record.do.s": Text("Success", "成功"),
    "record.do.f": Text("Failure", "失败"),
    "record.do.t": Text("Hold the arm", "保持机械臂"),
    "record.do.e": Text("Engage or disengage the leader", "接合或断开主臂"),
    "record.do.m": Text("Emulated bench: move the leader", "仿真台：移动主臂"),
    "record.do.n": Text("Emulated bench: new target", "仿真台：新目标"),
    "record.key": Text("{does} (key {key})", "{does}（按键 {key}）"),
    "record.space": Text("space", "空格"),
    "record.label_of": Text(
        "Label of episode {episodes}: {label}", "回合 {episodes} 的标签：{label}"
    ),
    "record.no_label": Text(
        "Labels are for the episode that was saved last", "标签用于最近保存的回合"
    ),
    "record.plan": Text("What is recorded", "录制内容"),
    "record.task_field": Text("Task, in words", "任务（文字描述）"),
    "record.wanted_field": Text(
        "Episodes in the dataset (0: any number)", "数据集回合数（0：不限）"
    ),
    "record.episode_s_field": Text("Seconds each (0: until Stop)", "每回合秒数（0：直到停止）"),
    "record.set": Text("Set", "设置"),
    "record.nothing_to_set": Text(
        "nothing differs from what the recorder has", "与录制器的设置相同"
    ),
    "record.reset_field": Text("Seconds to reset the scene", "复位场景的秒数"),
    "record.series": Text("One after the other", "连续录制"),
    "record.series.begin": Text("Begin series", "开始连续录制"),
    "record.series.end": Text("End series", "结束连续录制"),
    "record.series.off": Text(
        "The next recording begins when you press Start", "按“开始”后才开始下一次录制"
    ),
    "record.series.asked": Text("The series was ended", "连续录制已结束"),
    "record.series.done": Text(
        "The series is done: all episodes are there", "连续录制完成：所有回合已录制"
    ),
    "record.series.stopped": Text(
        "The stop ended the series; begin it again when the arm may move",
        "停止已结束连续录制；机械臂可以移动时请重新开始",
    ),
    "record.series.reset": Text(
        "Recordings begin by themselves, {reset} s after the last",
        "上一次结束 {reset} 秒后自动开始录制",
    ),
    "record.series.held": Text(
        "The series waits for you: {said}. Begin series goes on",
        "连续录制在等待：{said}。点击“开始连续录制”继续",
    ),
    "record.series.failed": Text(
        "The series waits until you have decided about what was not recorded",
        "连续录制在等待您处理未录制的回合",
    ),
    "record.sound": Text("Sound", "声音"),
    "record.sound.off": Text("off", "关"),
    "record.sound.tones": Text("tones", "提示音"),
    "record.sound.speech": Text("speech", "语音"),
    "record.sound.silent": Text(
        "this browser has no voice for it: tones instead", "此浏览器没有该语言的语音：改用提示音"
    ),
    "record.cue.recording": Text("Recording episode {episode}", "开始录制回合 {episode}"),
    "record.cue.failed": Text("Not recorded", "未能录制"),
    "record.cue.silent": Text("The recorder is silent", "录制器无响应"),
    "record.cue.count": Text("{left}", "{left}"),
    "record.cue.reset": Text("Reset the scene, {seconds} seconds", "请复位场景，{seconds} 秒"),
    "record.cue.saved": Text("Episode {episode} saved", "回合 {episode} 已保存"),
    "record.cue.done": Text("Done, {episodes} episodes", "完成，共 {episodes} 个回合"),
    "record.cue.idle": Text("Not recording", "没有在录制"),
    "record.facts": Text("As the graph says", "系统状态"),
    "record.task": Text("task", "任务"),
    "record.no_task": Text("empty: set it first", "为空：请先设置"),
    "record.count": Text("episodes", "回合"),
    "record.dataset": Text("dataset", "数据集"),
    "record.disk": Text("disk", "磁盘"),
    "record.arm": Text("arm", "机械臂"),
    "record.leader": Text("leader", "主臂"),
    "record.computer": Text("computer", "计算机"),
    "record.arm_silent": Text(
        "no joint_states for {seconds} s: is servo_bus running? It said last: {said}",
        "{seconds} 秒没有 joint_states：servo_bus 在运行吗？它最后的消息：{said}",
    ),
    "record.answers": Text("Answers", "应答"),
    "record.no_answers": Text("nothing was asked for yet", "还没有请求"),
    "record.last": Text("The last episode", "上一个回合"),
    "record.last.none": Text("the dataset has no episode yet", "数据集还没有回合"),
    "record.last.not_shown": Text(
        "To see it here, begin the console with the folder its dataset is in: "
        "armlet console --datasets {folder}",
        "要在此查看，请用数据集所在的文件夹启动控制台：armlet console --datasets {folder}",
    ),
    "record.last.no_findings": Text(
        "nothing is wrong with its rows and notes", "其数据行和备注没有问题"
    ),
    "record.last.all": Text("All episodes, on the page Datasets", "所有回合（数据集页面）"),
}
