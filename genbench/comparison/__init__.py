"""Whether one entry is better than another, by how much and how surely: pure functions of nats per
test image, without files and without torch.
"""
