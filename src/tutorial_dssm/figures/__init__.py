"""Top floor: data in, matplotlib `Figure` out.

Arrays may be tensors or numpy arrays. Angles are in rad, velocities in rad/s, times in s,
information in nats; frames hold grey values in [0, 1]. Lines have the colours of Okabe & Ito (2008)
and a marker or line style beside the colour; angles have a cyclic map, velocities a diverging one.
No function trains, reads or saves anything (but `runs.save_all`), and none leaves a figure open in
pyplot.
"""
