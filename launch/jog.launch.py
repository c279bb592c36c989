from armlet.ros_launch import launch_description


def generate_launch_description():
    return launch_description("jog")
