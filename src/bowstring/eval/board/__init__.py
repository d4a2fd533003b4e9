"""What the engine survives: kills, power losses, full and failing disks, flipped bits. Loads no torch."""
