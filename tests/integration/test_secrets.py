"""Secret values on a real engine: where they are, where they are not, and what one does that no key fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from controller.keyring import generate_key
from tests.harness import wait_until
from tests.integration.workshop import AUTHORISED, Workshop, every_answer

CANARY = "canary-5d1c8a90b7"
SECOND = "canary-e4f2076c31"
ENV = {"PASSWORD": {"secret": "PW"}, "PLAIN": "as it is"}
TELLS = "echo $PASSWORD; env; exec httpd -f -p 8080 -h /www"
FAILS = 'echo first; env; echo "it is $PASSWORD" >&2; exit 3'


def leaks(told: Mapping[str, str]) -> list[str]:
    """Which of these tell a canary."""
    return [where for where, text in told.items() if CANARY in text or SECOND in text]


def command_lines() -> Iterator[str]:
    """The arguments of every process of this machine."""
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield each.read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has ended


def stored(folder: Path) -> dict[str, str]:
    """What lies in the store's folder, byte by byte, the key file included."""
    return {each.name: each.read_bytes().decode("latin-1") for each in folder.glob("tallyd.db*")}


def test_a_value_is_in_its_container_and_nowhere_else(workshop: Workshop) -> None:
    """S4, O6: not in the output of a command, in a log at its most talkative, metrics, any answer of the API, a
    process's arguments, the store, or what a failed start leaves behind."""
    tallyd, told = workshop.tallyd.with_settings(TALLYD_LOG_LEVEL="debug"), {}
    workshop.declare(env=ENV, command=["sh", "-c", TELLS])
    told["set"] = repr(tallyd("secrets", "set", "shop", "PW", stdin=f"{CANARY}\n").expect(0))
    told["list"] = repr(tallyd("secrets", "list", "-o", "json").expect(0))
    told["deploy"] = repr(tallyd("deploy", "shop", "-o", "json").expect(0))
    assert workshop.environment("shop-1-1")["PASSWORD"] == CANARY
    assert workshop.environment("shop-1-1")["PLAIN"] == "as it is"
    assert CANARY not in str(workshop.labels("shop-1-1"))

    workshop.declare(env=ENV, command=["sh", "-c", FAILS], restart="no")
    told["failed deploy"] = repr(tallyd("deploy", "shop", "-o", "json").expect(1))
    assert "it is [secret]" in told["failed deploy"]
    assert "PLAIN=as it is" in told["failed deploy"]
    workshop.declare(env=ENV, command=["sh", "-c", TELLS])

    with tallyd.running("--interval-seconds", "1") as controller:
        controller.wait_ready()
        put = controller.request("PUT", "/api/v1/workloads/shop/secrets/PW", {"value": SECOND}, AUTHORISED)
        assert put.status == 200
        workshop.client.remove_container(f"{workshop.prefix}-shop-1-1", force=True, v=True)
        wait_until(
            lambda: workshop.environment("shop-1-1").get("PASSWORD") == SECOND,
            30,
            "the container is there again, with what is stored now",
        )
        told |= every_answer(controller)
        assert "/metrics" in told
        assert "/api/v1/workloads/shop/secrets" in told
        told |= {f"process {number}": line for number, line in enumerate(command_lines())}
        controller.terminate()
        told["log"] = controller.text
    for words in (("ps",), ("workload", "get", "shop"), ("revision", "list", "shop"), ("doctor",), ("plan",)):
        told[" ".join(words)] = repr(tallyd(*words, *(("-o", "json") if words[0] != "doctor" else ())))
    told |= stored(workshop.folder)
    assert leaks(told) == []
    assert '"level": "debug"' in told["log"]
    assert "PW" in told["workload get shop"]


def test_a_new_value_is_a_new_revision_at_the_next_deploy(workshop: Workshop) -> None:
    """S4, L1: what runs goes on; the drift is told, and one deploy ends it."""
    workshop.declare(env=ENV)
    workshop.tallyd.ok("secrets", "set", "shop", "PW", stdin=CANARY)
    workshop.deploy()
    digest = workshop.labels("shop-1-1")[f"{workshop.prefix}.spec"]
    assert "serves already" in workshop.deploy().stdout
    assert workshop.tallyd.tick()["plugins"] == {"in_sync": 1}
    workshop.tallyd.ok("secrets", "set", "shop", "PW", stdin=SECOND)
    assert workshop.tallyd.tick()["plugins"] == {"drift": 1}
    assert workshop.environment("shop-1-1")["PASSWORD"] == CANARY
    workshop.deploy()
    assert workshop.states() == {"shop-1": "inactive", "shop-2": "ready"}
    assert workshop.environment("shop-2-1")["PASSWORD"] == SECOND
    assert workshop.labels("shop-2-1")[f"{workshop.prefix}.spec"] != digest
    assert workshop.tallyd.tick()["plugins"] == {"in_sync": 1}


def test_one_value_that_no_key_fits_fails_its_workload_alone(workshop: Workshop) -> None:
    """S4, R15: told by the deploy, the pass, metrics and the doctor; the others are converged."""
    for each in ("shop", "blog"):
        workshop.declare(each, env=ENV)
        workshop.tallyd.ok("secrets", "set", each, "PW", stdin=CANARY)
        workshop.deploy(each)
    right = workshop.keys.read_text(encoding="utf-8")
    workshop.keys.write_text(generate_key(), encoding="utf-8")
    workshop.tallyd.ok("secrets", "set", "shop", "PW", stdin=SECOND)
    workshop.keys.write_text(right, encoding="utf-8")

    listed = {
        each["workload_id"]: each["readable"] for each in workshop.tallyd.ok("secrets", "list", "-o", "json").json
    }
    assert listed == {"shop": False, "blog": True}
    doctor = workshop.tallyd("doctor").expect(1).stdout
    assert "1 of 2 cannot be decrypted: shop/PW" in doctor
    refused = workshop.deploy("shop", exit_code=1).stderr
    assert "secret 'PW' of workload 'shop' cannot be read: no key of TALLYD_SECRETS_KEY_FILE fits" in refused
    assert workshop.states()["shop-1"] == "ready"

    for each in workshop.containers():
        workshop.client.remove_container(each["Id"], force=True, v=True)
    with workshop.tallyd.running("--interval-seconds", "1") as controller:
        controller.wait_ready()
        wait_until(lambda: len(workshop.containers("blog")) == 1, 30, "the other workload is there again")
        controller.wait_for_metric('tallyd_plugin_reconciles_total{kind="image",result="failed"}', 1)
        assert workshop.containers("shop") == []
        wait_until(lambda: "SecretUnreadable: secret 'PW' of workload 'shop'" in controller.text, 30, "the log tells")
        assert leaks({"log": controller.text, "metrics": controller.get("/metrics").body.decode()}) == []
    workshop.tallyd.ok("secrets", "set", "shop", "PW", stdin=SECOND)
    assert workshop.tallyd.tick()["plugins"].keys() <= {"in_sync", "repaired"}
    assert workshop.environment("shop-1-1")["PASSWORD"] == SECOND


def test_keys_are_rotated(workshop: Workshop) -> None:
    """S4: by three commands and a line in a file; what cannot be read is named, and the exit code tells."""
    workshop.declare(env=ENV)
    workshop.tallyd.ok("secrets", "set", "shop", "PW", stdin=CANARY)
    file = workshop.folder / "value"
    file.write_text(f"{SECOND}\n\n", encoding="utf-8")
    workshop.tallyd.ok("secrets", "set", "shop", "LINES", "--from-file", str(file))
    old, new = workshop.keys.read_text(encoding="utf-8"), workshop.tallyd.ok("secrets", "generate-key").stdout
    workshop.keys.write_text(new + old, encoding="utf-8")
    assert "2 secret(s)" in workshop.tallyd.ok("secrets", "rotate").stdout
    workshop.keys.write_text(new, encoding="utf-8")
    workshop.deploy()
    assert workshop.environment("shop-1-1")["PASSWORD"] == CANARY
    workshop.keys.write_text(generate_key(), encoding="utf-8")
    workshop.tallyd.ok("secrets", "set", "shop", "PW", stdin=CANARY)
    done = workshop.tallyd("secrets", "rotate").expect(1)
    assert "1 secret(s)" in done.stdout
    assert "secret LINES of workload shop cannot be decrypted" in done.stderr
    workshop.tallyd.ok("secrets", "delete", "shop", "LINES")
    assert [each["name"] for each in workshop.tallyd.ok("secrets", "list", "shop", "-o", "json").json] == ["PW"]
    workshop.keys.chmod(0o644)
    assert "is open to everybody (mode 0644)" in workshop.tallyd("secrets", "rotate").expect(1).stderr
    assert "chmod 0600" in workshop.tallyd("doctor").expect(1).stdout


def test_a_value_in_a_manifest_is_refused(workshop: Workshop) -> None:
    """S4: with how to store it, and without it."""
    env = {"PASSWORD": {"value": CANARY, "secret": True}}
    source = {"kind": "image", "config": {"image": "shop:1", "env": env}}
    manifest = yaml.safe_dump({"workloads": [{"id": "shop", "kind": "project", "source": source}]})
    refused = workshop.tallyd("workload", "apply", "-f", "-", stdin=manifest).expect(2)
    assert "tallyd secrets set WORKLOAD NAME" in refused.stderr
    assert leaks({"refused": refused.stderr + refused.stdout}) == []
