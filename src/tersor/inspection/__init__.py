"""What a matrix is like, and what grids make of it: pure functions on tensors, frozen results.

distribution  how weights are spread: moments, histogram
columns       columns whose largest weight is far over that of the others
channels      largest activation of every input channel
losses        error at several widths and granularities, in its parts
codes         what the codes of a quantized matrix use of their grid
matrix        all of it for one matrix
roles         medians over the matrices with one role
findings      what there is to see in a model, in sentences
"""
