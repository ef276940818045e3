"""What judging costs the machine: memory, and, where it is run by hand, processor time for each judgement.

The client runs in a process of its own and reports its own use; the server, in another, gives every request a reply
of sixteen dimensions (4 kB) to prompts of 8 kB.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CLIENT = """
import json, resource, sys, time
from pathlib import Path
from judge_setups import StubProtocol, settings_for
from stratalign.judging.keys import Row
from stratalign.judging.protocol import Item
from stratalign.judging.running import judge_rows

class Long(StubProtocol):
    def messages(self, item, mode="none"):
        return [{"role": "system", "content": "Judge by these sixteen dimensions. " * 180},
                {"role": "user", "content": item.prompt + item.responses[0]}]
    def read(self, reply, item=None):
        scores = {entry["dimension"]: entry["score"] for entry in json.loads(reply)}
        return {name: scores[f"dimension {n}"] for n, name in enumerate(("overall", "factuality", "safety"))}

url, store, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
rows = [Row("mid", f"p{n}", Item(f"Question {n}?", (f"Answer {n}. " * 120,))) for n in range(count)]
before = resource.getrusage(resource.RUSAGE_SELF)
start = time.monotonic()
tally = judge_rows(settings_for(url, concurrency=64), Long(), rows, store)
after = resource.getrusage(resource.RUSAGE_SELF)
used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
# Not ru_maxrss, which a process inherits from the one that started it.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"ms": 1000 * used / count, "mb": int(peak.split()[1]) / 1024, "states": tally.states,
                  "calls": tally.calls, "seconds": time.monotonic() - start}))
"""


def measure(store: Path, count: int) -> dict:
    """Processor time in ms for each judgement, and greatest resident memory in MB, of the client's process alone."""
    here = Path(__file__).parent
    server = subprocess.Popen([sys.executable, here / "fake_server.py"], stdout=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        client = subprocess.run(
            [sys.executable, "-c", CLIENT, url, str(store), str(count)],
            cwd=here,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    return json.loads(client.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is counted in kB there")
def test_twenty_thousand_judgements_take_little_memory(tmp_path):
    used = measure(tmp_path / "j.sqlite", 20_000)
    assert used["states"] == {"ok": 20_000}
    assert used["calls"] == 20_000
    assert used["mb"] <= 200


if __name__ == "__main__":
    print(measure(Path(sys.argv[1]), int(sys.argv[2])))
