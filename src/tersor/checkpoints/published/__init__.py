"""Checkpoints that their makers publish in few bits, read as the bfloat16 models they stand for.

reading   which are
fp8       scales for blocks, channels or tensors
mxfp4     blocks of 32 values with an exponent
"""
