"""Run a command and print its peak resident memory in MB.

python benchmarks/peak_memory.py COMMAND [ARGUMENT ...]
"""

import os
import subprocess
import sys


def main() -> int:
    """Run the command; return its exit code."""
    with subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    kilobytes = usage.ru_maxrss / 1024 if sys.platform == "darwin" else usage.ru_maxrss
    print(kilobytes * 1024 / 1e6)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
