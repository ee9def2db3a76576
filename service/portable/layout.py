"""What a portable file says of itself."""

FORMAT = "trainyard runs"
VERSION = 1
MANIFEST = "manifest.json"


def dataset_member(sha256: str) -> str:
    return f"datasets/{sha256}.safetensors"
