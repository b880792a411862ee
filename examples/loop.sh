#!/usr/bin/env bash
# The whole turn on a simulated site: watch, harvest, train, build, calibrate, swap, and harvest again
# from the live run. Prints cross-camera IDF1 and mAP of the model before and of the one that the
# site has taught.
#
#     examples/loop.sh FOLDER [RECIPE-OVERRIDE...]
#
# FOLDER must not exist yet. Words behind it go to `crosscam train` (method.epochs=2 for a quick
# look). PEOPLE, CAMERAS, SECONDS_OF_VIDEO, FPS, SEED, LOOKALIKES (share of people in uniform) and
# BESIDE (seconds of both models) may be set.
# Needs the train extra. SECONDS_OF_VIDEO=60 FPS=5 is six minutes of a processor; as it stands expect
# several times as much (not measured). With fewer than 16 people to learn from, counted in each
# camera, add batch.people=8 or so.
#
# All figures are of the second day, of which the new model has seen nothing, neither pictures nor
# scores: the same people in other clothes. Detector, settings and scoring are the same. IDF1 is that
# of whole runs, what detection and tracking miss in it; mAP is of true crops of everybody, every one
# looked for in the other cameras, and tells models apart where IDF1 does not. One small site says
# little: take several seeds before you believe a difference.
#
# The people here are of the kind that crosscam-reid learned from: as they are there is hardly
# anything to gain, and of those in uniform, where there is, own-site does not learn it.
# docs/guides/train.md tells what was measured, here and on real people.
set -euo pipefail

if [ $# -lt 1 ]; then
  sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
if [ -e "$1" ]; then
  echo "$1 is there already: give a new folder" >&2
  exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
people=${PEOPLE:-16} cameras=${CAMERAS:-3} seconds=${SECONDS_OF_VIDEO:-120} seed=${SEED:-11}
fps=${FPS:-10} beside=${BESIDE:-30} lookalikes=${LOOKALIKES:-0}
plain=(--no-video --no-report --no-crops)

field() { # the value of a dotted path in the JSON that comes in
  python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1].split("."):
    value = value[int(name)] if isinstance(value, list) else value[name]
print(value)' "$1"
}

say() { printf '\n== %s\n' "$*"; }

say "two days of a site: one to learn from, one to be judged on; the same people in other clothes"
crosscam simulate -o "$out/site" --days 2 --people "$people" --cameras "$cameras" \
  --seconds "$seconds" --fps "$fps" --seed "$seed" --lookalikes "$lookalikes" --crops
learn="$out/site/day1" judge="$out/site/day2"
mkdir "$out/crops-of-day2"
cp "$out"/site/crops/*/*_c?s2_*.jpg "$out/crops-of-day2"

say "the model that comes with crosscam"
crosscam process -c "$learn/site.yaml" -o "$out/learn-run" --embedder crosscam-reid "${plain[@]}"
crosscam process -c "$judge/site.yaml" -o "$out/before" --embedder crosscam-reid "${plain[@]}"

say "pictures of everybody, labelled by the run itself; a model learns from them"
crosscam harvest "$out/learn-run" -o "$out/pictures"
crosscam data check "$out/pictures"
crosscam train own-site data.path="$out/pictures" --output "$out/mine" "$@"
bundle="$out/mine/seed-0/last.bundle"

say "built for this machine, judged on the pictures of the day that it learned from"
crosscam build "$bundle" -o "$out/built" --crops "$out/pictures"
bundle="$out/built"

say "the new model on the other day, and what its scores are here"
crosscam process -c "$judge/site.yaml" -o "$out/after" --embedder "$bundle" "${plain[@]}"
crosscam process -c "$learn/site.yaml" -o "$out/learn-again" --embedder "$bundle" "${plain[@]}"
calibration=()
if crosscam calibrate "$out/learn-again"; then
  calibration=(--calibration "$out/learn-again/calibration.json")
else
  echo "goes on without: the live run learns from what it sees" >&2
fi

say "a live run goes over to it without a stop"
cp "$judge/site.yaml" "$judge/live.yaml"
printf 'embedder: crosscam-reid\nlive: {harvest: true}\n' >> "$judge/live.yaml"
crosscam run "$judge/live.yaml" -o "$out/live" --seconds $((beside + 600)) > "$out/live.log" 2>&1 &
live=$!
trap 'kill $live 2>/dev/null || true' EXIT
until grep -qs '"state":"running"' "$out/live/events.jsonl"; do
  kill -0 "$live" 2>/dev/null || { cat "$out/live.log" >&2; exit 1; }
  sleep 1
done
crosscam swap "$out/live" "$bundle" --beside "$beside" ${calibration[@]+"${calibration[@]}"}
kill "$live"
wait "$live"
trap - EXIT
grep '"type":"model"' "$out/live/events.jsonl"

say "the next turn begins: pictures out of the live run, whose site file allows it"
crosscam harvest "$out/live" -o "$out/next" --least 1

map() { # of a model, on true crops of the second day
  crosscam eval reid --model "$1" --data "$out/crops-of-day2" --train-share 0 --query all \
    --pattern '{person}_c{camera}s{_}_{frame}_{_}.jpg' --json - | field protocols.0.figures.mAP
}
idf1() { crosscam eval mtmc "$judge" "$1" --json | field cross_camera.idf1; }

say "on the day that nobody learned from"
printf '        cross-camera IDF1   mAP\n'
for when in before after; do
  model=crosscam-reid
  if [ "$when" = after ]; then model=$bundle; fi
  printf '%-6s  %17.3f  %.3f\n' "$when" "$(idf1 "$out/$when")" "$(map "$model")"
done
