"""The networks that containers are on: definitions, addresses, links, rules, names, ports.

A container's network namespace is made and wired before the container is, and it joins it; so it
outlives one start, and a container that begins anew is where it was.  What lasts is plain files
below the roots; what runs is the kernel's, and goes with the namespace.
"""
