"""Every finding's code, with one line of meaning, its usual cause and its fix.

A code is an interface: programs match it and people search for it, so it is never renamed and
never given another meaning. docs/findings.md is made from this table: `python -m armlet.findings`.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """What a finding is about: `room.what-is-wrong`.

    Attributes:
        meaning: what it says, one sentence.
        cause: what usually leads to it.
        remedy: what to do about it.
    """

    meaning: str
    cause: str
    remedy: str

    def __new__(cls, code: str, meaning: str, cause: str, remedy: str) -> Code:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning, member.cause, member.remedy = meaning, cause, remedy
        return member

    @property
    def room(self) -> str:
        """The part before the dot."""
        return str(self).partition(".")[0]

    # Computer
    COMPUTER_CHECK_FAILED = (
        "computer.check-failed",
        "A check of `armlet doctor` ended with an exception.",
        "A fault in armlet, or a device that vanished while it was read.",
        "Run the command again; if it fails the same way, report the line.",
    )
    COMPUTER_PYTHON_VERSION = (
        "computer.python-version",
        "Python is too old for armlet.",
        "The environment was made with the distribution's Python.",
        "Install Python 3.11 or newer and make the environment again.",
    )
    COMPUTER_ARMLET = (
        "computer.armlet",
        "The installed version of armlet and where it lies.",
        "Always reported.",
        "Nothing to fix.",
    )
    COMPUTER_PACKAGE_MISSING = (
        "computer.package-missing",
        "A Python package is not installed.",
        "It belongs to an extra that was not chosen, or apt does not carry it.",
        "Install it with the printed pip command.",
    )
    COMPUTER_DISK_LOW = (
        "computer.disk-low",
        "Little space is left where datasets go.",
        "Videos, logs and other programs' files.",
        "Free some space, or record on another disk.",
    )
    COMPUTER_CLOCK_UNSYNCHRONIZED = (
        "computer.clock-unsynchronized",
        "No time server keeps the clock.",
        "NTP is switched off.",
        "`sudo timedatectl set-ntp true`. Stamps of several computers are comparable only then.",
    )
    COMPUTER_CLOCK_OFFSET = (
        "computer.clock-offset",
        "The clocks of two computers of one graph differ by more than a frame: the policy holds "
        "the arm, and pictures stamped by that clock make no frame.",
        "One of them has no time server, or has just been switched on.",
        "Run chrony on both, with one as the other's server; `chronyc tracking` shows the offset.",
    )
    COMPUTER_CYCLES_LATE = (
        "computer.cycles-late",
        "A control cycle runs late when other programs are busy.",
        "The user may not raise the priority of processes, or the kernel ignores it.",
        "Add the printed limits, log in again, and close other programs while the arm moves.",
    )
    COMPUTER_INTERFERING_PROGRAM = (
        "computer.interfering-program",
        "A running program is known to disturb serial adapters.",
        "ModemManager probes new adapters; brltty takes CH340 adapters for itself.",
        "Disable or remove it with the printed command.",
    )

    # Robot file
    ROBOT_FILE = (
        "robot.file",
        "The robot file that every tool reads, and what stands in it, or why it cannot be read.",
        "A key is misspelt, or a value is of the wrong type.",
        "Correct the line that is named, or write the file again: `armlet setup`.",
    )

    # Serial ports
    PORT_MISSING = (
        "port.missing",
        "No serial port was found.",
        "The USB cable is not plugged in, or the container was not given the device.",
        "Plug it in, then run `armlet find-port`.",
    )
    PORT_NAME_UNSTABLE = (
        "port.name-unstable",
        "The port has no name that survives unplugging.",
        "The adapter has no serial number of its own.",
        "Use its path below `/dev/serial/by-path`, which names the USB socket.",
    )
    PORT_PERMISSION_DENIED = (
        "port.permission-denied",
        "This user may not open the port.",
        "The user is not in the port's group, or no udev rule gives it one.",
        "Run the printed command and log in again.",
    )
    PORT_IN_USE = (
        "port.in-use",
        "Another program has the port open.",
        "A driver, a terminal program or a calibration still runs.",
        "End it; two programs on one bus garble each other's packets.",
    )
    PORT_LATENCY_HIGH = (
        "port.latency-high",
        "The adapter holds each reply back for several milliseconds.",
        "FTDI adapters wait 16 ms by default.",
        "Set the timer to 1 ms with the printed command.",
    )

    # Servos
    SERVO_BUS_SILENT = (
        "servo.bus-silent",
        "No servo answers on the port.",
        "No power, a loose plug, or no arm on this port.",
        "Connect power, check the first cable, then `armlet scan --baud all`.",
    )
    SERVO_MISSING = (
        "servo.missing",
        "Servos that were expected do not answer.",
        "A loose plug, a wrong id or a different baud rate.",
        "`armlet scan --baud all` shows who answers and at which rate.",
    )
    SERVO_ID_SHARED = (
        "servo.id-shared",
        "Replies of an id are garbled.",
        "Two servos have the same id, or a plug is loose.",
        "Connect the servos one by one: `armlet setup-motors`.",
    )
    SERVO_MODEL_UNEXPECTED = (
        "servo.model-unexpected",
        "A servo is of another model than the arm needs.",
        "It was replaced by a different one.",
        "Replace it; registers and torque differ between models.",
    )
    SERVO_FIRMWARE_MIXED = (
        "servo.firmware-mixed",
        "The servos do not all have the same firmware.",
        "Servos of different batches.",
        "Bring all to one version with the maker's software; LeRobot may refuse a mixture.",
    )
    SERVO_VOLTAGE_OUT_OF_RANGE = (
        "servo.voltage-out-of-range",
        "A servo's supply voltage is outside its own limits.",
        "The wrong supply for these servos, or an empty battery.",
        "Use the supply made for these servos.",
    )
    SERVO_VOLTAGE_UNEVEN = (
        "servo.voltage-uneven",
        "The voltage drops along the chain.",
        "A loose plug or a worn cable.",
        "Push the plugs home; check the cable before the servo with the lowest voltage.",
    )
    SERVO_TEMPERATURE_HIGH = (
        "servo.temperature-high",
        "A servo is near or at its temperature limit.",
        "It held a load for long, or a joint is blocked.",
        "Release the arm and let it cool.",
    )
    SERVO_ERROR_REPORTED = (
        "servo.error-reported",
        "A servo reports an error itself.",
        "Overload, heat, voltage or a faulty encoder, as the line says.",
        "Remove the cause, then switch its torque off and on.",
    )
    SERVO_TORQUE_LEFT_ON = (
        "servo.torque-left-on",
        "Torque is on and no program controls the arm.",
        "A program ended without switching it off.",
        "Hold the arm and run the printed command.",
    )
    SERVO_RETURN_DELAY = (
        "servo.return-delay",
        "A servo waits before each reply.",
        "The factory setting is up to 508 µs.",
        "The driver sets 0 when it starts; the printed command does it now.",
    )
    SERVO_MULTI_TURN = (
        "servo.multi-turn",
        "A servo counts several turns, so its position may leave 0..4095.",
        "The phase register was changed.",
        "Write the printed value.",
    )
    SERVO_WRITES_UNACKNOWLEDGED = (
        "servo.writes-unacknowledged",
        "A servo does not acknowledge writes.",
        "Response_Status_Level is 0, or on a Dynamixel Status_Return_Level is below 2.",
        "Run the printed command.",
    )
    SERVO_EEPROM_UNLOCKED = (
        "servo.eeprom-unlocked",
        "A servo's EEPROM is unlocked.",
        "A program ended between unlocking and locking.",
        "Lock it, so that a stray write cannot change it.",
    )
    SERVO_SETTINGS = (
        "servo.settings",
        "The servos' stored settings are those armlet needs.",
        "Reported when no setting was found wrong.",
        "Nothing to fix.",
    )
    SERVO_POSITION_OUTSIDE_LIMITS = (
        "servo.position-outside-limits",
        "A joint stands outside its range.",
        "It was moved by hand, or the calibration is another arm's.",
        "With torque off, move it inside by hand; with torque on it would jump there.",
    )

    # Arm, as servo_bus drives it
    ARM_NOT_CONFIGURED = (
        "arm.not-configured",
        "The servo_bus node has not connected to its arm yet.",
        "The graph is starting, or the node was not configured.",
        "Wait for the graph to start, or configure the node.",
    )
    ARM_SETUP_FAILED = (
        "arm.setup-failed",
        "The servo_bus node cannot connect to its arm, or does not accept it.",
        "No power, a wrong port, or servos that do not fit the calibration, as the line says.",
        "Do what the line says; `armlet doctor` checks port, servos and calibration.",
    )
    ARM_BUS_LOST = (
        "arm.bus-lost",
        "The serial port of the arm is gone.",
        "The USB cable or the adapter was unplugged, or the adapter was reset.",
        "Plug it in. The driver finds it again and does not arm: call set_torque.",
    )
    ARM_SERVOS_SILENT = (
        "arm.servos-silent",
        "Servos of the arm have not answered for too long.",
        "The supply failed, or a plug in the chain is loose.",
        "Check supply and cables at the named joint, then call set_torque.",
    )
    ARM_TORQUE_UNPROVEN = (
        "arm.torque-unproven",
        "A stop could not be proven: servos may still have torque.",
        "A servo does not answer, so nobody knows whether it let go.",
        "Keep away from the arm and cut its power. The stop is tried again once all answer.",
    )
    ARM_NOT_ARMED = (
        "arm.not-armed",
        "Torque is not on, so the arm follows nothing and may sag.",
        "It was stopped, never armed, or a fault disarmed it, as the line says.",
        "Hold the arm if it could fall, then call set_torque.",
    )
    ARM_UNGUARDED = (
        "arm.unguarded",
        "The torque watchdog does not run, so nobody cuts torque if the driver is killed.",
        "The watchdog's process was ended, or cannot start.",
        "It is started again by itself; if it is not, look at the node's messages.",
    )
    ARM_HEARING_DOUBTFUL = (
        "arm.hearing-doubtful",
        "A part of the driver gives no sign of life: a stop might not be heard, so the arm holds.",
        "The computer is far too busy, or the middleware is stuck within the process.",
        "Wait: it goes on if it can, else the driver takes the torque off and ends.",
    )
    ARM_NAME_TWICE = (
        "arm.name-twice",
        "Another driver of this name holds an arm too, so both hold and neither is read out.",
        "Two computers, users or containers of one ROS domain started the same graph.",
        "End one of them, or give it another namespace or ROS_DOMAIN_ID.",
    )
    ARM_CHUNK_SHIFTED = (
        "arm.chunk-shifted",
        "Trajectories are refused: by the clock of the computer that sent them they were sent "
        "later than they came, by more than the time between two points.",
        "The clock of that computer is ahead of the driver's.",
        "Run chrony on both computers, with one as the other's server.",
    )
    ARM_COMMANDER_UNEXPECTED = (
        "arm.commander-unexpected",
        "A node may command the arm that the parameter `commanders` of its driver does not name.",
        "A program of somebody else in the network, or one of yours that is not listed.",
        "Find and end it (`ros2 topic info -v /joint_commands`), or list it.",
    )
    ARM_SERVO_REVERSES = (
        "arm.servo-reverses",
        "A servo turns its direction round by itself (drive_mode 1).",
        "The calibration has drive_mode 1 for a servo that can do that.",
        "Record with joint_units degrees: range_m100_100 would turn it round twice.",
    )
    ARM_JOINT_RELAXED = (
        "arm.joint-relaxed",
        "A joint has less torque than usual, to protect it.",
        "It was overloaded or too hot.",
        "Take the load off; it gets its torque back when the cause is gone.",
    )
    ARM_JOINT_RELEASED = (
        "arm.joint-released",
        "A joint of an armed arm carries no torque.",
        "It was released to protect it, cut out by itself, or recovers from an overload.",
        "Remove the cause, hold the arm, then call set_torque.",
    )
    ARM_JOINT_OVERLOADED = (
        "arm.joint-overloaded",
        "A servo reports that it is overloaded.",
        "It pushes against something, or carries too much.",
        "Move the arm away from what blocks it, or take the load off.",
    )

    # Calibration
    CALIBRATION_FILE_UNREADABLE = (
        "calibration.file-unreadable",
        "The calibration file cannot be read.",
        "It is damaged, or not a calibration.",
        "Calibrate again: `armlet calibrate --port PORT --output FILE`.",
    )
    CALIBRATION_JOINTS_MISSING = (
        "calibration.joints-missing",
        "The calibration file lacks joints of the arm.",
        "It is of another robot, or was edited.",
        "Calibrate again.",
    )
    CALIBRATION_DIFFERS_FROM_SERVOS = (
        "calibration.differs-from-servos",
        "The servos hold other values than the calibration file.",
        "The file is another arm's, or the arm was calibrated since.",
        "Use this arm's own file, or write it: `armlet calibrate --write FILE`.",
    )
    CALIBRATION_RANGE_UNLIKE_MODEL = (
        "calibration.range-unlike-model",
        "A joint's calibrated range is far from its URDF's, so that their zeros differ.",
        "It was not swept from stop to stop, or the arm is of another kind.",
        "Calibrate again, every joint from stop to stop, or name the arm's `model`.",
    )

    # Cameras
    CAMERA_MISSING = (
        "camera.missing",
        "A camera is not there.",
        "It is not plugged in, or the container was not given it.",
        "Plug it in; `ls -l /dev/v4l/by-id` shows names that stay.",
    )
    CAMERA_DEVICE_WITHOUT_IMAGES = (
        "camera.device-without-images",
        "The video device gives no images.",
        "Cameras have a second device for metadata.",
        "Name the camera's first device.",
    )
    CAMERA_PERMISSION_DENIED = (
        "camera.permission-denied",
        "This user may not open the camera.",
        "The user is not in the group `video`.",
        "`sudo usermod -aG video $USER`, then log in again.",
    )
    CAMERA_IN_USE = (
        "camera.in-use",
        "Another program has the camera open.",
        "A browser, a viewer or another node.",
        "End it before the camera node starts.",
    )
    CAMERA_OPEN_FAILED = (
        "camera.open-failed",
        "The camera cannot be opened or gives no image.",
        "It was unplugged, does not offer the requested size, or its driver hangs.",
        "Read the line's reason; plug the camera in again.",
    )
    CAMERA_NO_FORMAT = (
        "camera.no-format",
        "The camera offers no image format.",
        "Its firmware or driver hangs.",
        "Unplug it and plug it in again.",
    )
    CAMERA_OPENCV_MISSING = (
        "camera.opencv-missing",
        "OpenCV cannot be loaded.",
        "Two OpenCV packages are installed over each other.",
        "`pip install --force-reinstall opencv-python-headless`.",
    )
    CAMERA_USB_BANDWIDTH_SHARED = (
        "camera.usb-bandwidth-shared",
        "Several cameras share one USB 2 hub.",
        "A raw 640x480 stream takes 150 of 480 Mbit/s.",
        "Use MJPG for each, or another USB controller.",
    )
    CAMERA_FROZEN = (
        "camera.frozen",
        "The camera repeats one image byte for byte.",
        "The camera or its driver hangs; a sensor's noise makes no two images alike.",
        "The node opens it again; if that does not help, unplug it.",
    )
    CAMERA_IMAGE_REJECTED = (
        "camera.image-rejected",
        "An image was dropped: incomplete JPEG or wrong size.",
        "USB errors, a bad cable or too little bandwidth.",
        "Use another cable or port, or a smaller size.",
    )
    CAMERA_SLOW = (
        "camera.slow",
        "Images come at a lower rate than configured.",
        "A dark scene makes exposure long; or USB bandwidth, or the CPU.",
        "Fix the exposure, add light, or lower rate or size.",
    )
    CAMERA_STAMPED_ON_ARRIVAL = (
        "camera.stamped-on-arrival",
        "Images carry their time of arrival, which is later than their exposure.",
        "The driver gives no time stamps.",
        "Use another driver, or allow for the delay when aligning.",
    )
    CAMERA_RECOVERED = (
        "camera.recovered",
        "The camera works again.",
        "It failed a short time ago, as the line says.",
        "Nothing to fix; look for the cause if it repeats.",
    )

    # ROS
    ROS_NOT_INSTALLED = (
        "ros.not-installed",
        "rclpy is not installed. The tools work, the nodes do not.",
        "No ROS 2 setup file was sourced.",
        "Source it, or `pip install 'armlet[ros]'`.",
    )
    ROS_NOT_IMPORTABLE = (
        "ros.not-importable",
        "rclpy is installed and cannot be imported.",
        "Two ROS installations are mixed in one terminal.",
        "Open a new terminal and source one of them only.",
    )
    ROS_MIDDLEWARE_NOT_LOADABLE = (
        "ros.middleware-not-loadable",
        "The middleware named by RMW_IMPLEMENTATION cannot be loaded.",
        "It is not installed, or misspelt.",
        "`unset RMW_IMPLEMENTATION`.",
    )
    ROS_DOMAIN_INVALID = (
        "ros.domain-invalid",
        "ROS_DOMAIN_ID is outside 0..101.",
        "A typing error.",
        "`export ROS_DOMAIN_ID=0`.",
    )
    ROS_DISCOVERY_RANGE_INVALID = (
        "ros.discovery-range-invalid",
        "ROS_AUTOMATIC_DISCOVERY_RANGE has an unknown value.",
        "A typing error.",
        "`export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST`.",
    )
    ROS_DISCOVERY_OFF = (
        "ros.discovery-off",
        "Discovery is off, so nodes do not find each other.",
        "ROS_AUTOMATIC_DISCOVERY_RANGE is OFF.",
        "`export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST`.",
    )
    ROS_DISCOVERY_SUBNET = (
        "ros.discovery-subnet",
        "Nodes are visible to the whole subnet.",
        "That is ROS's default outside `armlet up`.",
        "Set LOCALHOST, unless other computers shall command the arm.",
    )
    ROS_PREFIX_MISSING = (
        "ros.prefix-missing",
        "AMENT_PREFIX_PATH names folders that do not exist.",
        "A workspace was moved or removed after it was sourced.",
        "Open a new terminal and source the workspace again.",
    )
    ROS_PACKAGE_NOT_FOUND = (
        "ros.package-not-found",
        "`ros2 launch` does not find armlet.",
        "No workspace with armlet was sourced.",
        "Source it; `armlet up` works without.",
    )
    ROS_SHARED_MEMORY_LOW = (
        "ros.shared-memory-low",
        "Too little shared memory for raw images.",
        "Containers get 64 MB by default.",
        "`docker run --shm-size=512m`, or free some.",
    )
    ROS_SHARED_MEMORY_STALE = (
        "ros.shared-memory-stale",
        "Nodes that crashed left shared memory files behind.",
        "The middleware does not remove them.",
        "Remove them with the printed command.",
    )

    # Contract
    CONTRACT_RATE = (
        "contract.rate",
        "The frame rates differ.",
        "The aligner's fps is not the recording's.",
        "Set the aligner's `fps` to the expected rate.",
    )
    CONTRACT_STATE_NAMES = (
        "contract.state-names",
        "The joints of the state differ in names or order.",
        "The aligner's `joints` are not those of the training data.",
        "Configure the joints in the expected order.",
    )
    CONTRACT_ACTION_NAMES = (
        "contract.action-names",
        "The joints of the action differ in names or order.",
        "The aligner's `joints` are not those of the training data.",
        "Configure the joints in the expected order.",
    )
    CONTRACT_JOINT_UNITS = (
        "contract.joint-units",
        "The joint units differ (degrees or range_m100_100).",
        "`joint_units` is not the mode the data was recorded in.",
        "Set `joint_units` to that mode.",
    )
    CONTRACT_JOINT_UNIT = (
        "contract.joint-unit",
        "One joint has another unit although the mode is the same.",
        "An older armlet converted fewer joints as grippers.",
        "Record into a new dataset; one dataset must not mix units.",
    )
    CONTRACT_CALIBRATION = (
        "contract.calibration",
        "The calibration is not the recording's.",
        "The arm was calibrated again, or it is another arm.",
        "Use the recording's file, record again, or accept the difference with "
        "`calibration_tolerance_deg`.",
    )
    CONTRACT_CAMERA_MISSING = (
        "contract.camera-missing",
        "A camera of the training data is not in the frames.",
        "It is not connected, or has another name.",
        "Connect it, and name it as in the dataset.",
    )
    CONTRACT_CAMERA_FORMAT = (
        "contract.camera-format",
        "A camera's image size or channel order differs.",
        "The camera node is configured otherwise.",
        "Set its width, height and encoding as in the dataset.",
    )
    CONTRACT_ALIGNMENT = (
        "contract.alignment",
        "A stream is aligned by another rule or tolerance.",
        "The aligner is configured otherwise than for the recording.",
        "Use the recording's configuration of the aligner.",
    )

    # Policy
    POLICY_CHECKPOINT_UNUSABLE = (
        "policy.checkpoint-unusable",
        "The checkpoint cannot be read or run.",
        "A fault that none of the codes below names, found by a package that adds policies.",
        "Do what the line says; else copy the whole pretrained_model folder, or train again.",
    )
    POLICY_CHECKPOINT_NOT_FOUND = (
        "policy.checkpoint-not-found",
        "There is no checkpoint at this path or under this name.",
        "A misspelt path, the folder above or below the right one, or no network to the Hub.",
        "Give the pretrained_model folder, or `hub:owner/name@revision`.",
    )
    POLICY_FILE_MISSING = (
        "policy.file-missing",
        "A file of the checkpoint is not there.",
        "Only a part of the folder was copied.",
        "Copy the whole pretrained_model folder.",
    )
    POLICY_FILE_DAMAGED = (
        "policy.file-damaged",
        "A file of the checkpoint cannot be read as what it must be.",
        "A copy or download was broken off, or the file was edited.",
        "Copy the file again.",
    )
    POLICY_FILE_NOT_FETCHED = (
        "policy.file-not-fetched",
        "A Git LFS pointer stands where a file should.",
        "The repository was cloned without Git LFS.",
        "Run `git lfs pull` in its repository, or download the file.",
    )
    POLICY_FILE_UNREADABLE = (
        "policy.file-unreadable",
        "A file of the checkpoint is there, and the computer does not give it.",
        "Another user's file, a failing disk, or too many open files.",
        "See that this user may read it, and do what the line says.",
    )
    POLICY_CACHE_FULL = (
        "policy.cache-full",
        "A checkpoint of the Hugging Face Hub cannot be stored on this computer.",
        "The disk is full, or another user's folder holds the cache.",
        "Make room, or set `HF_HOME` to a folder of yours on another disk.",
    )
    POLICY_FILE_PICKLED = (
        "policy.file-pickled",
        "The weights are a pickled file.",
        "They were saved with torch.save.",
        "Reading it would run code from the file. Load it where you trust it, and save the "
        "weights with safetensors.",
    )
    POLICY_PACKAGE_MISSING = (
        "policy.package-missing",
        "A Python package that reads this checkpoint is not installed.",
        "armlet was installed without its policy extra.",
        "Install it with the printed pip command.",
    )
    POLICY_PACKAGE_BROKEN = (
        "policy.package-broken",
        "The package that adds this policy cannot be loaded, or is not the only one.",
        "It is of another armlet, or two packages add one type.",
        "Repair, update or remove that package.",
    )
    POLICY_KIND_UNKNOWN = (
        "policy.kind-unknown",
        "armlet does not run policies of this type.",
        "It is a LeRobot policy that armlet lacks, or one of a package that is not installed.",
        "Train one of the types that are named, or install the package that adds it.",
    )
    POLICY_SETTING_UNKNOWN = (
        "policy.setting-unknown",
        "A file of the checkpoint has keys that armlet does not know.",
        "A newer LeRobot wrote it, or the keys were added by hand.",
        "Train with a LeRobot that armlet knows, or remove the keys if they are yours.",
    )
    POLICY_SETTING_INVALID = (
        "policy.setting-invalid",
        "A value in the checkpoint's files is missing, of the wrong type or impossible.",
        "The file was edited.",
        "Restore the file as LeRobot wrote it.",
    )
    POLICY_SETTING_UNSUPPORTED = (
        "policy.setting-unsupported",
        "The policy was trained with a setting that armlet cannot run.",
        "It uses an option, a processor or code of its own.",
        "Train it with the setting that is named.",
    )
    POLICY_FILES_CONTRADICT = (
        "policy.files-contradict",
        "Files of the checkpoint contradict each other.",
        "They come from several training runs.",
        "Copy the whole folder of one run again.",
    )
    POLICY_WEIGHTS_MISMATCH = (
        "policy.weights-mismatch",
        "The weights are not those of the network in config.json: tensors are missing, left over, "
        "or of another shape or type.",
        "config.json and the weights come from different training runs.",
        "Copy the whole folder of one run again.",
    )
    POLICY_WEIGHTS_NOT_FINITE = (
        "policy.weights-not-finite",
        "Weights are NaN, infinite or impossible.",
        "The training diverged, or the file is damaged.",
        "Take an earlier checkpoint.",
    )
    POLICY_STATISTICS_MISSING = (
        "policy.statistics-missing",
        "Statistics that the normalization needs are not in the checkpoint.",
        "The processors were saved without them.",
        "Restore the statistics of the training data.",
    )
    POLICY_STATISTICS_IMPOSSIBLE = (
        "policy.statistics-impossible",
        "Statistics have another shape than their feature, or values no data can have.",
        "They are of other data, or were never computed.",
        "Compute the statistics of the training data again.",
    )
    POLICY_STATISTICS_AMBIGUOUS = (
        "policy.statistics-ambiguous",
        "The checkpoint has several statistics, and nothing says which are this robot's.",
        "It was trained on data of several robots, or two features share a name.",
        "Name the robot (`--embodiment`), or rename the feature and train again.",
    )
    POLICY_CONTRACT_UNUSABLE = (
        "policy.contract-unusable",
        "The contract in the checkpoint is damaged, was altered, or is another checkpoint's.",
        "It was copied from another folder or edited.",
        "Restore the checkpoint's own contract, or remove it and run `armlet policy bind`.",
    )
    POLICY_BASE_UNUSABLE = (
        "policy.base-unusable",
        "The policy that this adapter changes is not here, or is not a whole policy.",
        "An adapter has only what training changed.",
        "Give the policy that training started from: `--base DIR`.",
    )
    POLICY_LANGUAGE_MODEL = (
        "policy.language-model",
        "The language model of a SmolVLA policy is not here, or is another one.",
        "The checkpoint names it, but its files are on the Hub.",
        "Fetch its config.json and tokenizer.json once, and give their folder as `vlm`.",
    )
    POLICY_VERSION_UNCLEAR = (
        "policy.version-unclear",
        "Which LeRobot or transformers trained the policy is not clear, and they compute "
        "differently.",
        "The files fit several versions, or contradict what was stated.",
        "State the version it was trained with: `--lerobot`, `--transformers`.",
    )
    POLICY_OPTION_REFUSED = (
        "policy.option-refused",
        "An option that was given does not suit this policy.",
        "It is another policy's, or a value is misspelt.",
        "Give the value that is named, or leave the option out.",
    )
    POLICY_EXPORT_INVALID = (
        "policy.export-invalid",
        "The files of an exported policy are damaged, were altered, or are of another armlet.",
        "A copy was broken off, or the export is old.",
        "Copy the whole exported folder again, or export the checkpoint again.",
    )
    POLICY_EXPORT_DIFFERS = (
        "policy.export-differs",
        "The graph does not compute what the policy computes in torch.",
        "An optimizer of this version of the runtime makes a mistake.",
        "Export again with this version installed, use another backend, or torch.",
    )
    POLICY_GRAPH_REFUSED = (
        "policy.graph-refused",
        "The graph cannot be loaded, or would read files or run operators of its own.",
        "It is not an export of armlet, or was made for another version of the runtime.",
        "Export the checkpoint again on this computer.",
    )
    POLICY_FACT = (
        "policy.fact",
        "A fact about the checkpoint, printed for the reader.",
        "Always reported.",
        "Nothing to fix.",
    )
    POLICY_VALUE_RANGE = (
        "policy.value-range",
        "Images do not enter normalization as 0..1.",
        "The contract beside the checkpoint was written for another one.",
        "Restore the checkpoint's own contract.",
    )
    POLICY_JOINT_COUNT = (
        "policy.joint-count",
        "The number of joint names is not the length of the policy's vector, or unknown.",
        "Names of another robot were configured, or the checkpoint states none.",
        "Name the joints of the training data in its order, or pass `--dataset`.",
    )
    POLICY_TRAINING_RATE = (
        "policy.training-rate",
        "The policy was trained at another rate than it runs at, or its rate is unknown.",
        "`fps` differs, or the checkpoint does not state it.",
        "Run at the training rate; pass `--dataset` to check it.",
    )
    POLICY_JOINT_UNITS = (
        "policy.joint-units",
        "The joint units to run with are unknown, invalid or contradict the checkpoint.",
        "`joint_units` was not given, or not as recorded.",
        "Give the mode the data was recorded in (LeRobot's use_degrees).",
    )
    POLICY_CALIBRATION_JOINTS = (
        "policy.calibration-joints",
        "The calibration does not have the policy's joints.",
        "It is another arm's file, or prefixes of two arms are missing.",
        "Pass this arm's file; of two arms `left_=FILE,right_=FILE`.",
    )
    POLICY_OUT_OF_REACH = (
        "policy.out-of-reach",
        "Positions of the training data lie beyond this arm's calibrated range.",
        "Other units, another joint order or another calibration.",
        "Pass those of the training data.",
    )
    POLICY_IMAGES_MISSING = (
        "policy.images-missing",
        "Images to compare with are not available.",
        "A dataset was downloaded without videos.",
        "Download them; without images neither channels nor cameras can be compared.",
    )
    POLICY_INPUT_REFUSED = (
        "policy.input-refused",
        "The policy's own preprocessing refuses an observation.",
        "A wrong size, a missing camera or a value that is not finite.",
        "Fix what the line names.",
    )
    POLICY_INPUT_SCALE = (
        "policy.input-scale",
        "Pictures reach the network on another scale than those it was trained on.",
        "They, or their statistics, were divided by 255 twice, or never.",
        "Restore the statistics of the training data; divide uint8 pictures by 255 once.",
    )
    POLICY_INPUT_NORMALIZATION = (
        "policy.input-normalization",
        "What reaches the network is not what the frozen statistics make of it.",
        "Another preprocessing: each picture normalized by its own mean and std, other statistics.",
        "Normalize by the checkpoint's statistics alone.",
    )
    POLICY_SOURCES_DIFFER = (
        "policy.sources-differ",
        "Two sources are not the same to the network.",
        "Another scene, light, camera order, channel order, unit or rate of one of them.",
        "Check each with `armlet policy check`; allow more if the scene itself differs.",
    )
    POLICY_IMAGE_BLACK = (
        "policy.image-black",
        "Images are black.",
        "The lens is covered, or images were divided by 255 before.",
        "Uncover the lens, or send uint8 images as the camera gives them.",
    )
    POLICY_IMAGE_UNIFORM = (
        "policy.image-uniform",
        "Images have one colour everywhere.",
        "A covered lens, no light or a hung camera.",
        "Uncover the lens, switch on the light, or restart the camera.",
    )
    POLICY_IMAGE_STATISTICS_UNKNOWN = (
        "policy.image-statistics-unknown",
        "The checkpoint has no statistics of this camera's own images.",
        "It was trained with ImageNet statistics.",
        "Pass `--dataset` to compare with training images.",
    )
    POLICY_CHANNELS_SWAPPED = (
        "policy.channels-swapped",
        "Red and blue are exchanged, or cannot be distinguished.",
        "A camera or a republisher sends BGR as RGB.",
        "Set its encoding to rgb8, or convert once.",
    )
    POLICY_IMAGE_COMPRESSED = (
        "policy.image-compressed",
        "A camera's JPEG pictures are compressed very coarsely.",
        "A low jpeg_quality, of the camera or of a republisher that saves bandwidth.",
        "Compress as the recording did.",
    )
    POLICY_IMAGE_DETAIL = (
        "policy.image-detail",
        "A camera's pictures are finer, or less fine, than those the policy was trained on.",
        "They are resized from another size, or otherwise, cropped, compressed or out of focus.",
        "Take pictures as the recording did, at that size.",
    )
    POLICY_SCENE_CHANGED = (
        "policy.scene-changed",
        "Images differ from the training images in light, exposure or scene.",
        "Another lamp, another place, automatic exposure or a covered lens.",
        "Restore the training setup, or train on this one.",
    )
    POLICY_CAMERA_SWAPPED = (
        "policy.camera-swapped",
        "Two cameras are exchanged, or cannot be distinguished.",
        "Cables or names were exchanged.",
        "Exchange the cables or the names of these cameras.",
    )
    POLICY_POSE_UNITS = (
        "policy.pose-units",
        "The arm's pose fits the training data in other joint units than configured.",
        "`joint_units` is wrong, or degrees are published as radians.",
        "Set `joint_units`, or publish radians.",
    )
    POLICY_POSE_FAR = (
        "policy.pose-far",
        "The arm's pose is far from the training poses.",
        "It stands elsewhere, or calibration or joint order differ.",
        "Move the arm to where the training data begins and check again.",
    )
    POLICY_JOINT_ORDER = (
        "policy.joint-order",
        "Values fit the statistics only in another joint order.",
        "Joints or statistics were permuted.",
        "Restore the order of the training data.",
    )
    POLICY_VALUES_SCALED = (
        "policy.values-scaled",
        "Values are a constant factor away from the statistics.",
        "Radians where degrees were trained, or the reverse.",
        "Convert the values to the units of the training data.",
    )
    POLICY_VALUES_SHIFTED = (
        "policy.values-shifted",
        "Values are unlike the training data's.",
        "Another task, other units or another calibration.",
        "Check with the dataset the policy was trained on.",
    )
    POLICY_OTHER_DATASET = (
        "policy.other-dataset",
        "The dataset's statistics are not those the policy was trained with.",
        "A subset, a newer version or another dataset.",
        "Pass the training data, if this is not it.",
    )
    POLICY_EVALUATED_ON_TRAINING_DATA = (
        "policy.evaluated-on-training-data",
        "A policy is evaluated on episodes that it was trained on, or may have been.",
        "Nothing was held out, or no file says what was.",
        "Name other episodes with `--episodes`; split the dataset before training.",
    )
    POLICY_NO_BETTER_THAN_BASELINE = (
        "policy.no-better-than-baseline",
        "A policy's actions are no nearer to the recorded ones than holding still, or their mean.",
        "It learned nothing, was trained on other data, or predicts further than it can see.",
        "Train for longer, or check dataset and statistics: `armlet policy check`.",
    )
    POLICY_ERROR_ABOVE_LIMIT = (
        "policy.error-above-limit",
        "The mean error of a joint is above the limit that was given.",
        "The policy is worse than what `--limit` accepts.",
        "Train again, or take the policy of before.",
    )
    POLICY_COMPARED = (
        "policy.compared",
        "Which of two policies is nearer to the recorded actions, episode by episode.",
        "Always reported where two are compared.",
        "Nothing to fix; more held-out episodes decide smaller differences.",
    )
    POLICY_STATISTICS_NOT_SET = (
        "policy.statistics-not-set",
        "Statistics leave values unchanged, so that they reach the network unnormalized.",
        "The defaults were saved instead of the dataset's statistics.",
        "Restore the statistics of the training data.",
    )
    POLICY_STATISTICS_CONTRADICTORY = (
        "policy.statistics-contradictory",
        "Statistics contradict themselves.",
        "They are of different data, or in different joint order.",
        "Restore the statistics of the training data.",
    )
    POLICY_STATISTICS_IMAGE_SCALE = (
        "policy.statistics-image-scale",
        "Image statistics are not of values 0..1.",
        "Computed on 0..255, or divided by 255 twice.",
        "Compute them again and train again.",
    )
    POLICY_STATISTICS_RADIANS = (
        "policy.statistics-radians",
        "Joint statistics look like radians.",
        "The training data was recorded in radians, which LeRobot does not.",
        "Convert the data and train again.",
    )
    POLICY_STATISTICS_OUT_OF_UNIT = (
        "policy.statistics-out-of-unit",
        "Joint statistics exceed what the unit allows.",
        "The policy was trained in other units, or the statistics are damaged.",
        "Give the right `joint_units`, or restore the statistics.",
    )
    POLICY_STATISTICS_GRIPPER_RANGE = (
        "policy.statistics-gripper-range",
        "A gripper's statistics are outside 0..100.",
        "Joints are named in another order, or recorded in other units.",
        "Correct the names.",
    )
    POLICY_STATISTICS_IMAGE_STD = (
        "policy.statistics-image-std",
        "The std of images is too small.",
        "LeRobot 0.4.0 to 0.5.1 squared bytes; 0.6 adds up in float32, which loses low contrast.",
        "The policy runs as it was trained; train again with correct statistics.",
    )
    POLICY_STATISTICS_JOINT_ORDER = (
        "policy.statistics-joint-order",
        "State and action statistics have their joints in different orders.",
        "One of the two was permuted.",
        "Restore the statistics in the order of the joint names.",
    )
    POLICY_STATISTICS_CAMERAS_ALIKE = (
        "policy.statistics-cameras-alike",
        "The statistics cannot show whether cameras are exchanged.",
        "They are too alike, or ImageNet's.",
        "Pass `--dataset` to compare with training images.",
    )
    POLICY_ACTIONS_CONSTANT = (
        "policy.actions-constant",
        "The policy, or a joint of it, gives the same actions whatever it sees.",
        "Its head is zeroed or saturated, or the weights are not those of the training run.",
        "Restore model.safetensors, or train again.",
    )
    POLICY_ACTIONS_FAINT = (
        "policy.actions-faint",
        "The policy's actions differ much less than the recorded ones for the same frames.",
        "It was hardly trained, or the weights are not those of the training run.",
        "Train longer, or restore model.safetensors.",
    )
    POLICY_ACTIONS_WILD = (
        "policy.actions-wild",
        "The policy's actions differ many times more than the recorded ones for the same frames.",
        "The weights of its head were scaled or damaged, or training diverged.",
        "Restore model.safetensors, or take an earlier checkpoint.",
    )
    POLICY_ACTIONS_PERMUTED = (
        "policy.actions-permuted",
        "The policy's actions are the recorded ones with joints exchanged.",
        "The rows of its head were permuted, by a tool or by another order of joints in training.",
        "Restore model.safetensors, or train again on data with this order of joints.",
    )
    POLICY_ACTIONS_INVERTED = (
        "policy.actions-inverted",
        "A joint's actions go the other way than the recorded ones.",
        "A row of the policy's head, or the joint's direction in another calibration, is negated.",
        "Restore model.safetensors, or give the dataset that it was trained on.",
    )
    POLICY_ACTIONS_SCALED = (
        "policy.actions-scaled",
        "A joint's actions are the recorded ones at another scale.",
        "The head's weights, or the statistics of the action, are others than in training.",
        "Restore model.safetensors and the statistics beside it.",
    )
    POLICY_ACTIONS_SHIFTED = (
        "policy.actions-shifted",
        "A joint's actions are the recorded ones with an offset.",
        "The head's biases, or the statistics of the action, are others than in training.",
        "Restore model.safetensors and the statistics beside it.",
    )
    POLICY_ACTIONS_NOT_FINITE = (
        "policy.actions-not-finite",
        "The policy gives actions that are not finite for a recorded observation.",
        "Its weights are too large, or damaged.",
        "Restore model.safetensors, or train again.",
    )
    POLICY_BLIND_TO_PICTURES = (
        "policy.blind-to-pictures",
        "The policy's actions are the same whatever its cameras show.",
        "The backbone or its projection is zeroed, or was never trained.",
        "Restore model.safetensors, or train again.",
    )
    POLICY_BLIND_TO_CAMERA = (
        "policy.blind-to-camera",
        "The policy's actions do not depend on one of its cameras.",
        "In training it showed nothing: a covered lens, or a picture that never changed.",
        "Look at the training pictures; train without this camera, or record again.",
    )
    POLICY_BLIND_TO_STATE = (
        "policy.blind-to-state",
        "The policy's actions are the same whatever the joints' positions.",
        "The projection of the state is zeroed, or was never trained.",
        "Restore model.safetensors, or train again.",
    )
    POLICY_RESPONSE_UNKNOWN = (
        "policy.response-unknown",
        "Whether the policy answers to what it sees could not be tried.",
        "There are no frames with all that it reads, or all that was recorded is alike.",
        "Pass `--dataset` with its videos.",
    )
    POLICY_DRIFT_STATE = (
        "policy.drift-state",
        "Joint states leave the training data while the policy runs.",
        "The arm was pushed, or the task differs.",
        "Bring the arm back to training poses, or train on more.",
    )
    POLICY_DRIFT_ACTIONS = (
        "policy.drift-actions",
        "Actions leave the range of the training data while the policy runs.",
        "The policy sees what it was not trained on.",
        "Stop it; restore the training setup.",
    )
    POLICY_DRIFT_INVERTED = (
        "policy.drift-inverted",
        "A joint goes the other way than the policy sends it, and the other joints follow.",
        "Its sign differs from the training's: a servo mounted or a calibration made otherwise.",
        "Calibrate the arm again; use the calibration of the training data.",
    )
    POLICY_DRIFT_LAG = (
        "policy.drift-lag",
        "The arm is seen further behind its commands than in the training data.",
        "Observations are older than their stamps say, or the arm follows more slowly: speed "
        "limits, load, supply.",
        "Synchronize the computers' clocks; have drivers stamp what they measure when they measure "
        "it; set the limits of the recording.",
    )
    POLICY_DRIFT_FROZEN = (
        "policy.drift-frozen",
        "A camera's picture stays the same, byte for byte, for a second in which the arm moves.",
        "The camera, its driver or a republisher repeats its last picture with new stamps, and the "
        "aligner's `frozen_s` does not end that.",
        "Restart the camera; have it stop where it has nothing new.",
    )
    POLICY_DRIFT_CAMERA = (
        "policy.drift-camera",
        "Images leave the training data while the policy runs.",
        "Light, exposure or scene changed; a lens was covered.",
        "Restore the training setup.",
    )

    # Dataset
    DATASET_METADATA_UNREADABLE = (
        "dataset.metadata-unreadable",
        "The dataset's metadata cannot be read.",
        "A file is damaged, missing or not LeRobot's.",
        "Correct the file as the line says, or restore it from a copy.",
    )
    DATASET_EPISODE_UNFINISHED = (
        "dataset.episode-unfinished",
        "An episode was not finished.",
        "The recorder was killed.",
        "`armlet dataset repair` finishes it up to its last complete frame.",
    )
    DATASET_EDIT_INTERRUPTED = (
        "dataset.edit-interrupted",
        "An edit of the dataset was interrupted, before it changed a file or while it did.",
        "The computer or the program was stopped meanwhile.",
        "Run `armlet dataset repair`: it finishes the edit, or removes what was prepared.",
    )
    DATASET_UNFINISHED_NOT_OURS = (
        "dataset.unfinished-not-ours",
        "The unfinished episode's folder is not one armlet wrote.",
        "Something else made it.",
        "Look at it and remove it yourself.",
    )
    DATASET_TOTAL_WRONG = (
        "dataset.total-wrong",
        "info.json counts more or fewer episodes, frames or tasks than there are.",
        "A crash, or files that were copied in part.",
        "`armlet dataset repair`, or restore the metadata.",
    )
    DATASET_TASK_UNKNOWN = (
        "dataset.task-unknown",
        "An episode's task is not in the tasks file.",
        "The tasks file was replaced.",
        "Restore it, or add the task.",
    )
    DATASET_FILES_MANY = (
        "dataset.files-many",
        "A dataset of so many files that opening it takes long.",
        "A recorder merges small files when it closes a dataset, but those before did not.",
        "`armlet dataset compact` merges files; nothing is encoded again.",
    )
    DATASET_FILE_MISSING = (
        "dataset.file-missing",
        "A file that the metadata names is missing.",
        "An incomplete download or copy.",
        "Download it (`git lfs pull`), or restore it.",
    )
    DATASET_PATH_INVALID = (
        "dataset.path-invalid",
        "The metadata names a file outside the dataset.",
        "The metadata is damaged or hostile.",
        "Restore the metadata from a copy.",
    )
    DATASET_VIDEO_UNDECLARED = (
        "dataset.video-undeclared",
        "An episode's metadata names no video for a camera.",
        "It was written by a tool that lost the entry.",
        "Restore the metadata from a copy.",
    )
    DATASET_FILE_ORPHANED = (
        "dataset.file-orphaned",
        "A file belongs to no episode.",
        "The metadata that names it was lost.",
        "Restore the metadata, or remove the file yourself.",
    )
    DATASET_COLUMNS_MISSING = (
        "dataset.columns-missing",
        "The dataset declares no counter columns.",
        "info.json was edited.",
        "Restore it from a copy.",
    )
    DATASET_DATA_UNREADABLE = (
        "dataset.data-unreadable",
        "A data file cannot be read.",
        "An incomplete download (LFS pointer) or a damaged file.",
        "Download it again, or restore it.",
    )
    DATASET_COLUMN_INVALID = (
        "dataset.column-invalid",
        "A column does not have the declared type or shape.",
        "Written by another tool, or damaged.",
        "Restore it from a copy.",
    )
    DATASET_ROW_COUNT_WRONG = (
        "dataset.row-count-wrong",
        "A data file has more or fewer rows than its episodes.",
        "A partial copy, or damaged metadata.",
        "Restore file and metadata from a copy.",
    )
    DATASET_INDEX_WRONG = (
        "dataset.index-wrong",
        "Counters of rows (frame_index, index, task_index) are wrong.",
        "Episodes were merged or edited by another tool.",
        "Restore it from a copy, or record again.",
    )
    DATASET_TIMESTAMP_WRONG = (
        "dataset.timestamp-wrong",
        "timestamp is not frame_index / fps.",
        "The data was recorded at another rate than declared.",
        "Restore it from a copy, or record again.",
    )
    DATASET_VALUE_NOT_FINITE = (
        "dataset.value-not-finite",
        "A column has NaN or infinite values.",
        "A fault in the program that recorded it.",
        "Remove the episode.",
    )
    DATASET_FRAMES_MISSING = (
        "dataset.frames-missing",
        "Time stamps show gaps between frames.",
        "Frames were lost while recording.",
        "Record the episode again.",
    )
    DATASET_VIDEO_UNREADABLE = (
        "dataset.video-unreadable",
        "A video cannot be read.",
        "An incomplete download (LFS pointer) or a damaged file.",
        "Download it again, or restore it.",
    )
    DATASET_VIDEO_SIZE_WRONG = (
        "dataset.video-size-wrong",
        "A video's image size is not the declared one.",
        "info.json or the video was replaced.",
        "Correct the shape in info.json if the video is right, else restore it.",
    )
    DATASET_VIDEO_TOO_SHORT = (
        "dataset.video-too-short",
        "A video has fewer images than its episode has rows.",
        "A partial copy, or a crash of another recorder.",
        "Restore it, or record the episode again.",
    )
    DATASET_VIDEO_LONGER = (
        "dataset.video-longer",
        "Images follow the last row of an episode.",
        "LeRobot's own recording may leave them.",
        "Nothing need be done; `armlet dataset compact` drops them where possible.",
    )
    DATASET_IMAGE_DAMAGED = (
        "dataset.image-damaged",
        "Images came damaged from the camera.",
        "USB errors.",
        "Look at them with `armlet dataset view`; drop the episode if they matter.",
    )
    DATASET_NOTES_UNREADABLE = (
        "dataset.notes-unreadable",
        "The recorder's notes on an episode cannot be read.",
        "The file is damaged.",
        "Restore it from a copy.",
    )
    DATASET_INTERVENTION_DIFFERS = (
        "dataset.intervention-differs",
        "The column intervention and the recorder's notes differ in who commanded rows.",
        "Another program changed the column, or the notes are of other rows.",
        "Restore the one that is wrong from a copy.",
    )
    DATASET_VERSION_OLD = (
        "dataset.version-old",
        "The dataset is in a format that is read and converted, but never changed.",
        "It was recorded with LeRobot before February 2025 (v2.0).",
        "`armlet dataset convert` writes a copy in v3.0, or with `--to v2.1` in v2.1.",
    )
    DATASET_STATISTICS_MISSING = (
        "dataset.statistics-missing",
        "Statistics are missing; training needs them for normalization.",
        "They were not computed or not copied.",
        "`armlet dataset stats --write`.",
    )
    DATASET_STATISTICS_UNREADABLE = (
        "dataset.statistics-unreadable",
        "Statistics cannot be read.",
        "The file is damaged.",
        "`armlet dataset stats --write`.",
    )
    DATASET_STATISTICS_INVALID = (
        "dataset.statistics-invalid",
        "Statistics have impossible values.",
        "Computed by a faulty tool, or on images of 0..255.",
        "`armlet dataset stats --write`.",
    )
    DATASET_STATISTICS_COUNT = (
        "dataset.statistics-count",
        "Statistics count another number of rows than there are.",
        "Episodes were added or removed since.",
        "`armlet dataset stats --write`.",
    )
    DATASET_STATISTICS_WRONG = (
        "dataset.statistics-wrong",
        "Statistics are not those of the data.",
        "Data or statistics changed since they were computed.",
        "`armlet dataset stats --write`.",
    )
    DATASET_QUANTILES_WRONG = (
        "dataset.quantiles-wrong",
        "Quantiles are not those of the data.",
        "LeRobot averages the quantiles of episodes, which is not the quantile of the whole.",
        "`armlet dataset stats --write` stores the data's own.",
    )
    DATASET_IMAGE_STD_WRONG = (
        "dataset.image-std-wrong",
        "The std of images is far too small.",
        "LeRobot 0.4.0 to 0.5.1 squared bytes; 0.6 adds up in float32, which loses low contrast.",
        "Train with ImageNet statistics, or `armlet dataset stats --write`.",
    )
    DATASET_CONTRACT_UNREADABLE = (
        "dataset.contract-unreadable",
        "The dataset's contract cannot be read.",
        "It was edited, which breaks its signature.",
        "Restore it as armlet wrote it, or write it again: `armlet dataset bind`.",
    )
    DATASET_CONTRACT_DIFFERS = (
        "dataset.contract-differs",
        "The dataset's contract contradicts info.json.",
        "One of the two was replaced.",
        "Restore it from a copy.",
    )
    DATASET_CALIBRATION_WRONG = (
        "dataset.calibration-wrong",
        "Positions in the data lie where an arm of this calibration cannot be.",
        "The calibration file is of another arm, or of another time.",
        "Give the calibration that the arm had while it was recorded.",
    )
    DATASET_EMPTY = (
        "dataset.empty",
        "The dataset has no episodes.",
        "Nothing was saved yet.",
        "Record some.",
    )
    DATASET_EPISODE_SHORT = (
        "dataset.episode-short",
        "An episode is shorter than a second.",
        "The record button was pressed twice.",
        "Remove it; there is nothing to learn from it.",
    )
    DATASET_TASK_EMPTY = (
        "dataset.task-empty",
        "A task has no text.",
        "No task was configured while recording.",
        "Describe the task in words in the tasks file; language models read it.",
    )
    DATASET_TASKS_ALIKE = (
        "dataset.tasks-alike",
        "Tasks differ only in how they are written.",
        "The task was typed again for every session.",
        "Give them one wording; a language model takes them for different tasks.",
    )
    DATASET_SKEW_EXCEEDED = (
        "dataset.skew-exceeded",
        "Samples lie further from their frames than the contract allows.",
        "The rows were not made by armlet's aligner.",
        "Record again.",
    )
    DATASET_CAMERA_LATE = (
        "dataset.camera-late",
        "A camera's images lie off their frames' time throughout.",
        "The camera's clock or rate is off.",
        "Look at the camera node's diagnostics.",
    )
    DATASET_SAMPLES_REPEATED = (
        "dataset.samples-repeated",
        "Many frames repeat the sample before.",
        "The stream is slower than the dataset.",
        "Lower fps, or make the stream faster.",
    )
    DATASET_UNITS_WRONG = (
        "dataset.units-wrong",
        "Values cannot be in the units declared.",
        "The recorder's joint_units or calibration was wrong.",
        "Set them right, and convert or record again.",
    )
    DATASET_UNITS_MIXED = (
        "dataset.units-mixed",
        "State and action are in different units.",
        "They went through different calibrations or units.",
        "Convert both alike, and record again.",
    )
    DATASET_JOINT_CONSTANT = (
        "dataset.joint-constant",
        "A joint does not move in the whole dataset.",
        "It is not read, does not move, or the task does not need it.",
        "Fix the arm and record again, if it should move.",
    )
    DATASET_OUTLIER = (
        "dataset.outlier",
        "Single samples lie far off their neighbours.",
        "A reply was misread.",
        "Remove the episode; look at the bus's error counts.",
    )
    DATASET_JUMP = (
        "dataset.jump",
        "A joint jumps faster than a servo can move.",
        "Lost samples, or a position that wrapped around.",
        "Look for lost samples; limit the velocity of commands.",
    )
    DATASET_ACTION_IS_STATE = (
        "dataset.action-is-state",
        "Actions equal states in every row.",
        "The position that was read was recorded as the command.",
        "Record the command that was sent.",
    )
    DATASET_LAG_TOO_SMALL = (
        "dataset.lag-too-small",
        "States follow actions at once, which no arm does.",
        "Actions are states of the next frame, or stamps are those of arrival.",
        "Check how actions and stamps are recorded.",
    )
    DATASET_LAG_TOO_LARGE = (
        "dataset.lag-too-large",
        "A joint's state follows its action later than a servo needs.",
        "Commands are delayed, or stamps are wrong.",
        "Look at the stamps, or at what delays commands.",
    )
    DATASET_IMAGE_DARK = (
        "dataset.image-dark",
        "Images are dark.",
        "The lens was covered, or there was no light.",
        "Remove the episode.",
    )
    DATASET_IMAGE_UNIFORM = (
        "dataset.image-uniform",
        "Images show next to nothing.",
        "The lens was covered.",
        "Remove the episode.",
    )
    DATASET_BRIGHTNESS_CHANGED = (
        "dataset.brightness-changed",
        "An episode's brightness differs from the others'.",
        "Automatic exposure, or other light.",
        "Lock exposure and white balance, and keep the light.",
    )
    DATASET_CAMERA_FROZEN = (
        "dataset.camera-frozen",
        "A camera repeats one image while the arm moves.",
        "The camera hung.",
        "Remove the episode.",
    )
    DATASET_SCENE_STILL = (
        "dataset.scene-still",
        "Neither images nor arm move for long.",
        "Waiting was recorded, or the camera hung.",
        "Cut it, or see whether the camera hung.",
    )
    DATASET_VIDEO_RATE = (
        "dataset.video-rate",
        "Images lie off the times of their frames; LeRobot cannot load them.",
        "The video's rate varies, or is not the dataset's.",
        "Encode it again at a constant rate, the dataset's.",
    )
    DATASET_APPEND_UNITS = (
        "dataset.append-units",
        "The values of the dataset cannot be in the units that shall be recorded.",
        "`joint_units` differs from the dataset's.",
        "Set `joint_units` as the dataset was recorded.",
    )
    DATASET_APPEND_ROBOT = (
        "dataset.append-robot",
        "The dataset is of another robot type.",
        "`robot_type` differs.",
        "Record as the dataset was recorded, or into a new one.",
    )
    DATASET_APPEND_FEATURE = (
        "dataset.append-feature",
        "A column or a camera differs from the dataset's.",
        "Cameras, joints or streams are configured otherwise.",
        "Configure them as in the dataset; what armlet does not record (depth, text, labels) "
        "needs a new one.",
    )
    DATASET_APPEND_CODEC = (
        "dataset.append-codec",
        "The video codec differs from the dataset's.",
        "`codec` was changed, or LeRobot recorded it: it takes `libsvtav1`, armlet `h264`.",
        "Set `codec` as the line says.",
    )
    DATASET_VIDEO_OTHER = (
        "dataset.video-other",
        "A video's brightness is not that of its statistics.",
        "It may be another video.",
        "Restore the right one; if it is right, `armlet dataset stats --write`.",
    )
