"""What every package uses to touch the disk: downloads, atomic writes, locks, manifests."""
