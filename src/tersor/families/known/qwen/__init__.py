"""Qwen, by Alibaba."""
