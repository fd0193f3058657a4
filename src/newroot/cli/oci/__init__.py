"""``newroot-oci``: runc's command line on newroot, with the flags that crun adds.

``verbs.py`` is the table of its verbs, one module each; ``main.py`` finds the verb and runs it;
``log.py`` says what went wrong, to people and to the engines that parse it.
"""
