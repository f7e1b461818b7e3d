"""The container's image without a container engine: its steps in a chroot, and the node that comes of it."""
