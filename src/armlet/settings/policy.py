"""Parameters of policy."""

from __future__ import annotations

from .setting import Change, Fixed, Setting

LOADED = Fixed("the policy is loaded with it")
FITTED = Fixed("the policy was checked against the robot with it")

SETTINGS = (
    Setting(
        "checkpoint",
        "",
        "Directory of a LeRobot checkpoint (ACT, Diffusion, SmolVLA), or hub:OWNER/NAME@REV.",
        change=LOADED,
    ),
    Setting(
        "vlm",
        "",
        "Directory of SmolVLA's language model, if the checkpoint does not contain it.",
        change=LOADED,
    ),
    Setting(
        "embodiment",
        "",
        "Robot whose statistics to use, if the checkpoint has those of several.",
        change=LOADED,
    ),
    Setting(
        "base_checkpoint",
        "",
        "Checkpoint that a LoRA policy was trained from, if it is not where the adapter says.",
        change=LOADED,
    ),
    Setting(
        "without",
        "",
        "Cameras a SmolVLA policy was trained without, comma separated.",
        change=LOADED,
    ),
    Setting(
        "lerobot_version",
        "",
        "LeRobot version of the training, if the checkpoint does not state it.",
        change=LOADED,
    ),
    Setting(
        "transformers_version",
        "",
        "transformers version of a SmolVLA training, if the checkpoint does not state it.",
        change=LOADED,
    ),
    Setting(
        "denoising",
        "",
        "Scheduler and steps in place of the checkpoint's (DDIM:10); its actions differ then.",
        change=LOADED,
    ),
    Setting(
        "calibration_file",
        "",
        "LeRobot calibration JSON of the arm to drive. Two arms: left_=FILE,right_=FILE.",
        change=FITTED,
    ),
    Setting(
        "calibration_tolerance_deg",
        0.0,
        "Accept a calibration by which joints moved up to this much since the recording (degrees).",
        0.0,
        10.0,
        change=FITTED,
    ),
    Setting(
        "joint_units",
        "",
        "Units the policy was trained in, if the checkpoint does not state them: "
        "degrees or range_m100_100.",
        change=FITTED,
    ),
    Setting("device", "cpu", "torch device for inference.", change=LOADED),
    Setting(
        "backend",
        "torch",
        "Runtime of the network: torch, onnxruntime, openvino, or auto, the fastest as measured.",
        change=LOADED,
    ),
    Setting(
        "precision",
        "float32",
        "Floating-point type of the network: float32, or bfloat16 where the device has it.",
        change=LOADED,
    ),
    Setting("threads", 0, "CPU threads for inference. 0: torch's default.", 0, 256, change=LOADED),
    Setting(
        "running",
        True,
        "Drive the arm from the start. ~/set_running switches it.",
        change=Fixed("~/set_running switches it"),
        respawned=False,
    ),
    Setting(
        "task",
        "",
        "Instruction, for policies that read one. ~/task changes it.",
        change=Change.FREE,
    ),
    Setting(
        "strategy",
        "auto",
        "How action chunks are combined: latest_only, n_action_steps, "
        "temporal_ensembling, weighted_blend or rtc. auto: as the checkpoint suggests.",
        change=Change.FREE,
    ),
    Setting(
        "replan_interval_s",
        0.1,
        "Shortest time between the observations of two inferences (s).",
        0.0,
        10.0,
        change=Change.FREE,
    ),
    Setting(
        "replan_horizon_s",
        0.0,
        "Run inference only when less than this is left of the plan (s). 0: at any time.",
        0.0,
        60.0,
        change=Change.FREE,
    ),
    Setting(
        "replan_share",
        1.0,
        "Run inference only when less than this share of a chunk is left.",
        0.0,
        1.0,
        change=Change.FREE,
    ),
    Setting(
        "n_action_steps",
        0,
        "Actions executed of each chunk by the strategy n_action_steps. 0: as the "
        "checkpoint states.",
        0,
        10_000,
        change=Change.FREE,
    ),
    Setting(
        "new_weight",
        0.7,
        "Weight of the newer chunk in weighted_blend.",
        0.0,
        1.0,
        change=Change.FREE,
    ),
    Setting(
        "seed",
        -1,
        "Seed of the policy's noise, set again at the start of each episode. -1: random.",
        -1,
        2**31 - 1,
        change=Change.FREE,
    ),
    Setting(
        "max_observation_age_s",
        0.3,
        "Do not use observations older than this (s).",
        0.01,
        10.0,
        change=Change.LOWER,
    ),
    Setting(
        "stop_on_drift",
        False,
        "Pause when observations or actions are far from the training data.",
        change=Change.FREE,
    ),
    # Defaults of armlet.policies.fit.drift.DriftSettings, which needs torch.
    Setting(
        "drift_window",
        150,
        "Observations over which drift is measured; a chunk counts as one.",
        1,
        100_000,
        change=FITTED,
    ),
    Setting(
        "drift_warn_sigma",
        4.0,
        "Warn when the median of a joint is this far from the training mean (standard deviations).",
        0.0,
        1e6,
        change=Change.FREE,
    ),
    Setting(
        "drift_stop_sigma",
        8.0,
        "The same, as an error, which stop_on_drift pauses at.",
        0.0,
        1e6,
        change=Change.FREE,
    ),
    Setting(
        "drift_warn_rate",
        0.2,
        "Warn when this share of a joint's values is beyond the training range.",
        0.0,
        1.0,
        change=Change.FREE,
    ),
    Setting("drift_stop_rate", 0.6, "The same, as an error.", 0.0, 1.0, change=Change.FREE),
    Setting(
        "drift_warn_divergence",
        0.5,
        "Warn when a camera's pictures diverge this much from the training statistics (nats).",
        0.0,
        1e6,
        change=Change.FREE,
    ),
    Setting("drift_stop_divergence", 2.0, "The same, as an error.", 0.0, 1e6, change=Change.FREE),
    Setting(
        "drift_dark",
        0.03,
        "Mean (0..1) below which pictures are black, of a camera whose training pictures no "
        "statistics describe.",
        0.0,
        1.0,
        change=Change.FREE,
    ),
    Setting(
        "drift_warn_lag_s",
        0.06,
        "Warn when the state is so much further behind the commands than in training (s).",
        1e-3,
        1e6,
        change=Change.FREE,
    ),
    Setting(
        "inference_latency_s",
        "measured",
        "Simulated time an inference takes: measured, or a number of seconds for repeatable runs.",
        change=Fixed("simulated time is planned with it"),
    ),
    Setting(
        "inference_limit_s",
        0.0,
        "Consider inference hung after this long (s). 0: the duration of a chunk.",
        0.0,
        600.0,
        change=Change.FREE,
    ),
    Setting(
        "fit_limits",
        "",
        "Other limits of the check before the policy drives, comma separated (blind=0.01); those "
        "of armlet policy check --limit.",
        change=FITTED,
    ),
    Setting(
        "requires_recorder",
        False,
        "Hold the arm while the recorder cannot record.",
        change=Fixed("what holds the arm is not switched off while the policy may drive"),
    ),
)
