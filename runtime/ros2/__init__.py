"""What a run shows to ROS 2: joints and pictures through Zenoh, outside the processes that move the arms."""
