"""What a portable file says of itself."""

FORMAT = "trainyard runs"
VERSION = 2
READ = (1, VERSION)  # version 1 had no logs
MANIFEST = "manifest.json"


def dataset_member(sha256: str) -> str:
    return f"datasets/{sha256}.safetensors"
