"""Families of models: what each one is, said once, as data.

   family    the words in which a family is described
   decoder   what the engine must know of one
   known     the families, one a file
   registry  ``model_type`` → family

Quantizing, calibration, GGUF files and the engine read the same descriptions. Nothing here imports
torch or transformers.
"""
