"""What quantizing a part of a model alone does to its predictions.

original    the model in memory: blocks, what each reads of the text, logits, divergence
labels      schemes by short names: w4, w3g32
candidates  matrices as each scheme would have them
estimates   the divergence from gradients: sampled next tokens, back through the blocks
exact       the divergence itself: a part quantized, the rest of the model run again
roles       q, k, v, …: what linears are to a reader
units       what is quantized together
protocol    on how much text, by which score, how many parts exactly
kept        what was measured before, by content
result      the result as a value
measure     all of it
"""
