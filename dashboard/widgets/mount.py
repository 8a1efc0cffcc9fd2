"""Components whose scripts a route of the dashboard serves; their code only loads and mounts them."""

from pathlib import Path

PLAYER = Path(__file__).parents[1] / "player"
_MOUNT_JS = """
const base = document.baseURI;
export default function (component) {
  let unmount = null;
  let gone = false;
  import(new URL("fervid/player/SCRIPT", base).href).then((script) => {
    if (!gone) unmount = script.mount(component);
  });
  return () => { gone = true; unmount?.(); };
}
"""


def mount_js(script: str) -> str:
    """JavaScript of a component that loads a script from the folder `player` and calls its function `mount`."""
    return _MOUNT_JS.replace("SCRIPT", script)
