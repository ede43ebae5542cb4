"""Networks and their training: tensors in, tensors out. The only home of torch."""
