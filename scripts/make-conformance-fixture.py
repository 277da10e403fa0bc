#!/usr/bin/env python3
"""Cut the part of a conformance set that the engine's own tests use.

    python3 scripts/make-conformance-fixture.py CONFORMANCE_DIR crates/engine/tests/data

Keeps one model, its prompts of up to 300 tokens and their answers in both KV modes: positions, logits and
sensitivities (float32, little-endian), and the greedy continuations.
"""
import json
import pathlib
import shutil
import sys

MODEL, LONGEST = "s-q8", 300

source, target = map(pathlib.Path, sys.argv[1:3])
meta = json.loads((source / "expected" / f"{MODEL}.json").read_text())
blob = (source / "expected" / f"{MODEL}.f32").read_bytes()
tokens = {p["name"]: p["tokens"] for p in json.loads((source / "prompts.json").read_text())["prompts"]}
out, cases = b"", []
for prompt in meta["prompts"]:
    ids, rows = tokens[prompt["name"]], len(prompt["positions"])
    if len(ids) > LONGEST:
        continue
    for mode in ("plain", "cache"):
        at, sens = prompt[mode]["logits_offset"], prompt[mode]["sens_offset"]
        cases.append({"prompt": prompt["name"], "mode": mode, "tokens": ids, "positions": prompt["positions"],
                      "offset": len(out)})
        out += blob[at:at + 4 * rows * meta["vocab"]] + blob[sens:sens + 4 * rows]
greedy = [{"mode": g["mode"], "prompt": tokens[g["prompt"]], "tokens": g["tokens"], "margins": g["margins"]}
          for g in meta["greedy"]]
shutil.copyfile(source / "models" / f"{MODEL}.gguf", target / f"{MODEL}.gguf")
(target / f"{MODEL}.f32").write_bytes(out)
(target / f"{MODEL}.json").write_text(json.dumps({"vocab": meta["vocab"], "cases": cases, "greedy": greedy},
                                                 separators=(",", ":")) + "\n")
