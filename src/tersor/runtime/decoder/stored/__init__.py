"""Linears and other tensors of a decoder, from where they are stored to native form."""
