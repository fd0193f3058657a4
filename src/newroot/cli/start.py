"""What the commands ``newroot`` and ``newroot-oci`` run; start.c starts it by ``python -I -S``.

It may assume nothing but the interpreter: ``site`` has not run, so it adds the directory that the
package is in.  It leaves by ``os._exit``, because to take apart an interpreter that is about to
end costs half a millisecond; whoever needs something done at the end uses ``with``.
"""

import gc
import os
import sys

# A start makes many objects and hardly any garbage: the default of 700 has the collector walk
# all modules a dozen times while they are loaded, for 3 of 28 ms.
gc.set_threshold(20_000)
sys.path.append(__file__[: -len("/newroot/cli/start.py")])
del sys.argv[0]  # now it is the command's path, as start.c resolved it

if sys.argv[0].endswith("-oci"):
    from newroot.cli.oci.main import main
else:
    from newroot.cli.main import main

code = main()
try:
    if sys.stdout is not None:  # it is None when descriptor 1 was closed before we came
        sys.stdout.flush()
except OSError:
    code = code or 125  # a full disk or a closed pipe: what was asked for was not delivered
os._exit(code)
