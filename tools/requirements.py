"""Print the requirements of one group of pyproject.toml, one a line, for `pip install -r`.

The group `build` is what a build without isolation needs: the build system's requirements and the
run-time dependencies. Any other name is an optional dependency group.
"""

import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10: pip carries the same parser
    from pip._vendor import tomli as tomllib


def main() -> None:
    """Print the group named on the command line."""
    group = sys.argv[1]
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    pyproject = tomllib.loads(text)
    project = pyproject["project"]
    if group == "build":
        requirements = pyproject["build-system"]["requires"] + project["dependencies"]
    else:
        requirements = project["optional-dependencies"][group]
    print("\n".join(requirements))


main()
