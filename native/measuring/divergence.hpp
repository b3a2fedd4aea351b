// The divergence of two distributions given by logits, and its gradient; see
// tersor/training/logits.py.
#pragma once

#include <cstddef>

namespace tersor {

// Per row, KL(softmax(teacher) || softmax(student)) in nats; the student's logits are replaced by the
// gradient with respect to them, softmax(student) - softmax(teacher). T: float, or std::uint16_t for
// bfloat16. Finite logits (rows, columns); sums over a row are in one order on every machine.
template <typename T>
void divergence(T* student, const T* teacher, std::size_t rows, std::size_t columns,
                double* totals);

}  // namespace tersor
