"""Which numbers the hardware is quick with."""

import torch


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether matrices of bfloat16 are multiplied there quicker than those of float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
