"""The page of trials."""

from .text import Text

TEXTS = {
    "evaluate.title": Text("Evaluate", "评估"),
    "evaluate.none": Text(
        "No trials here. Begin the console with the folder that armlet eval writes to: "
        "armlet console --trials DIR",
        "这里没有试验。启动控制台时请给出 armlet eval 的输出文件夹：armlet console --trials DIR",
    ),
    "evaluate.not_all": Text(
        "Not all folders were looked through: there are too many, or one is not yours to read; "
        "name one further down",
        "未能查看全部文件夹：数量太多，或没有读取权限；请指定更下层的文件夹",
    ),
    "evaluate.choose": Text("Trials", "试验"),
    "evaluate.again": Text("Look again", "重新查看"),
    "evaluate.close": Text("Close", "关闭"),
    "evaluate.results": Text("Results", "结果"),
    "evaluate.measure": Text("measure", "指标"),
    "evaluate.policy": Text("policy", "策略"),
    "evaluate.physics": Text("physics", "物理"),
    "evaluate.trials": Text("trials", "试验次数"),
    "evaluate.successes": Text("successes", "成功次数"),
    "evaluate.rate": Text("success rate", "成功率"),
    "evaluate.interval": Text(
        "{confidence:.0%} interval (Wilson)", "{confidence:.0%} 区间（Wilson）"
    ),
    "evaluate.between": Text("{low:.1%} to {high:.1%}", "{low:.1%} 到 {high:.1%}"),
    "evaluate.time": Text("time to success (s)", "成功用时（秒）"),
    "evaluate.path_m": Text("path of the tip (m)", "末端路径（m）"),
    "evaluate.path_rad": Text("path of the joints (rad)", "关节路径（rad）"),
    "evaluate.smoothness": Text("smoothness (SPARC)", "平滑度（SPARC）"),
    "evaluate.quartiles": Text(
        "{median:.2f} ({low:.2f} to {high:.2f})", "{median:.2f}（{low:.2f} 到 {high:.2f}）"
    ),
    "evaluate.of_successes": Text(
        "Times, paths and smoothness are of successful trials: median (lower to upper quartile). "
        "A filter of the list changes no rate.",
        "用时、路径和平滑度仅统计成功的试验：中位数（下四分位到上四分位）。列表筛选不影响成功率。",
    ),
    "evaluate.comparison": Text("Is one better?", "哪个更好？"),
    "evaluate.first": Text("First policy", "第一个策略"),
    "evaluate.second": Text("Second policy", "第二个策略"),
    "evaluate.better": Text("{name} is better", "{name} 更好"),
    "evaluate.no_difference": Text("No difference is shown", "未显示出差异"),
    "evaluate.verdict": Text(
        "{verdict}: of {pairs} trials that both did, {first} alone succeeded in {only_first}, "
        "{second} alone in {only_second}, both in {both}, none in {neither}; p {p:.2g} (exact "
        "McNemar test)",
        "{verdict}：双方都做过的 {pairs} 次试验中，仅 {first} 成功 {only_first} 次，"
        "仅 {second} 成功 {only_second} 次，都成功 {both} 次，都失败 {neither} 次；"
        "p {p:.2g}（McNemar 精确检验）",
    ),
    "evaluate.differs": Text(
        "Their trials differ in {what} too, not in the policy alone",
        "除策略外，试验还有这些不同：{what}",
    ),
    "evaluate.disputed": Text("only where one succeeded alone", "仅显示结果不同的试验"),
    "evaluate.list": Text("Trials", "试验"),
    "evaluate.shown": Text("{shown} of {all} trials shown", "显示 {shown} / {all} 次试验"),
    "evaluate.too_many": Text(
        "; the first {most} only: filter for others", "；仅前 {most} 次：请用筛选查找其他试验"
    ),
    "evaluate.side": Text("policy", "策略"),
    "evaluate.seed": Text("seed", "种子"),
    "evaluate.label": Text("label", "标签"),
    "evaluate.label.success": Text("✓ success", "✓ 成功"),
    "evaluate.label.failure": Text("✗ failure", "✗ 失败"),
    "evaluate.seconds": Text("length (s)", "时长（秒）"),
    "evaluate.final": Text("error at the end (m)", "最终误差（m）"),
    "evaluate.interventions": Text("taken over", "人工接管"),
    "evaluate.note": Text("note", "备注"),
    "evaluate.shortest": Text("at least, s", "最短（秒）"),
    "evaluate.longest": Text("at most, s", "最长（秒）"),
    "evaluate.noted": Text("with a note", "有备注"),
    "evaluate.intervened": Text("taken over by a person", "有人工接管"),
    "evaluate.video": Text(
        "What the policy saw in trial {seed} of {side}", "{side} 的试验 {seed} 中策略所见"
    ),
    "evaluate.no_video": Text(
        "Choose a trial in the list to see it; of this one no video was kept",
        "在列表中选择试验即可观看；这次试验没有保存视频",
    ),
    "evaluate.episode": Text(
        "Show episode {number} in Datasets, as it was numbered when it was recorded",
        "在“数据集”中查看回合 {number}（录制时的编号）",
    ),
    "evaluate.hand": Text("Trials by hand", "人工试验"),
    "evaluate.hand.none": Text(
        "Set a number of trials, let the policy of this graph drive, and say how each ended.",
        "设定试验次数，让本系统的策略驱动机械臂，并标注每次的结果。",
    ),
    "evaluate.hand.folder": Text("Where", "位置"),
    "evaluate.hand.new_in": Text("new in {folder}", "新建于 {folder}"),
    "evaluate.hand.name": Text("Name of a new folder", "新文件夹名称"),
    "evaluate.hand.side": Text("Side", "编号"),
    "evaluate.hand.task": Text("Task, in words", "任务描述"),
    "evaluate.hand.count": Text("Trials", "试验次数"),
    "evaluate.hand.first_number": Text("Number of the first", "起始编号"),
    "evaluate.hand.open": Text("Begin a series", "开始一组试验"),
    "evaluate.hand.standing": Text(
        "{task} · policy {policy} · {side} · {labelled} of {count} labelled",
        "{task} · 策略 {policy} · {side} · 已标注 {labelled} / {count}",
    ),
    "evaluate.hand.ready": Text(
        "Trial {number}: set the scene, bring the arm to its start, then let the policy drive",
        "试验 {number}：布置场景，把机械臂移到起点，然后让策略驱动",
    ),
    "evaluate.hand.driving": Text(
        "Trial {number}: the policy drives", "试验 {number}：策略正在驱动"
    ),
    "evaluate.hand.busy": Text("One moment…", "请稍候…"),
    "evaluate.hand.done": Text("All trials are labelled", "所有试验均已标注"),
    "evaluate.hand.begin": Text("Let the policy drive", "让策略驱动"),
    "evaluate.hand.success": Text("It succeeded", "成功"),
    "evaluate.hand.failure": Text("It failed", "失败"),
    "evaluate.hand.discard": Text("Discard the trial", "丢弃本次试验"),
    "evaluate.hand.note": Text("Note for this trial", "本次试验备注"),
    "evaluate.hand.undo": Text("Undo the label of trial {number}", "撤销试验 {number} 的标签"),
    "evaluate.hand.close": Text("End the series", "结束这组试验"),
    "evaluate.said.stale": Text(
        "Nothing was done: another browser was first; this page shows what is now",
        "未执行：另一个浏览器已先操作；本页显示的是当前状态",
    ),
    "evaluate.said.busy": Text(
        "Nothing was done: another order is under way", "未执行：另一个操作正在进行"
    ),
    "evaluate.said.wrong": Text(
        "Expected a task in words (at most 200 characters) and 1 to 1000 trials",
        "需要任务描述（最多 200 个字符）和 1 到 1000 次试验",
    ),
    "evaluate.said.no_policy": Text(
        "No policy runs here; start one: armlet up policy checkpoint:=CHECKPOINT running:=false",
        "这里没有策略在运行；请启动：armlet up policy checkpoint:=CHECKPOINT running:=false",
    ),
    "evaluate.said.no_checkpoint": Text(
        "The policy does not say which checkpoint it runs; try again",
        "策略没有说明正在运行哪个检查点；请重试",
    ),
    "evaluate.said.refused": Text("Refused", "已拒绝"),
    "evaluate.said.not_driven": Text("The policy does not drive", "策略没有驱动"),
    "evaluate.said.not_paused": Text(
        "THE POLICY DID NOT PAUSE: press STOP, or cut the power",
        "策略未能暂停：请按停止，或切断电源",
    ),
    "evaluate.said.not_kept": Text("The trials are as they were", "试验未更改"),
    "evaluate.said.labelled": Text("Kept; the arm holds", "已保存；机械臂保持不动"),
    "evaluate.said.discarded": Text(
        "Discarded; the arm holds. The trial is done again", "已丢弃；机械臂保持不动。本次试验重做"
    ),
    "evaluate.said.taken_back": Text(
        "The label is gone; the trial is done again", "标签已撤销；该试验重做"
    ),
    "evaluate.said.stopped": Text("Discarded: the arm was stopped", "已丢弃：机械臂已停止"),
    "evaluate.said.unseen": Text(
        "Paused and discarded: no browser showed this page", "已暂停并丢弃：没有浏览器在查看此页面"
    ),
    "evaluate.said.closed": Text("The series has ended", "这组试验已结束"),
}
