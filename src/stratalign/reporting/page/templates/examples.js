"use strict";
// Filters the examples of every study by text and run, and orders them by a dimension. Without it all are shown.
const studies = JSON.parse(document.getElementById("data").textContent);

function apart(scores, dimension) {
  const known = Object.values(scores).map((all) => all[dimension]).filter((value) => value !== null);
  return known.length > 1 ? Math.max(...known) - Math.min(...known) : -1;
}

function enhance(section) {
  const study = studies[Number(section.dataset.study) - 1];
  const filters = section.querySelector(".filters");
  if (!filters || !study) return;
  const list = section.querySelector(".list");
  const examples = [...list.querySelectorAll(".example")];
  const written = new Map([...list.querySelectorAll(".score")].map((score) => [score, score.textContent]));
  const byText = filters.querySelector(".by-text");
  const byDimension = filters.querySelector(".by-dimension");
  const runs = [...filters.querySelectorAll(".by-run")];
  const number = (example) => Number(example.dataset.example);

  function update() {
    const wanted = byText.value.trim().toLowerCase();
    const dimension = byDimension.value === "" ? null : Number(byDimension.value);
    const shown = new Set(runs.filter((run) => run.checked).map((run) => run.value));
    const order = dimension === null
      ? [...examples].sort((a, b) => number(a) - number(b))
      : [...examples].sort((a, b) => apart(study.examples[number(b)], dimension)
          - apart(study.examples[number(a)], dimension) || number(a) - number(b));
    let count = 0;
    for (const example of order) {
      list.append(example);
      for (const reply of example.querySelectorAll(".reply")) {
        reply.hidden = !shown.has(reply.dataset.run);
        const score = reply.querySelector(".score");
        if (dimension === null) {
          score.textContent = written.get(score);
        } else {
          const value = study.examples[number(example)][reply.dataset.run][dimension];
          score.textContent = study.dimensions[dimension] + " " + (value === null ? "–" : value.toFixed(2));
        }
      }
      const visible = [example.querySelector(".prompt"), ...example.querySelectorAll(".reply:not([hidden])")];
      example.hidden = wanted !== "" && !visible.some((part) => part.textContent.toLowerCase().includes(wanted));
      count += example.hidden ? 0 : 1;
    }
    filters.querySelector(".count").textContent = count + " of " + examples.length + " prompts shown";
  }

  byText.addEventListener("input", update);
  for (const control of [byDimension, ...runs]) control.addEventListener("change", update);
  filters.hidden = false;
  update();
}

document.querySelectorAll(".examples").forEach(enhance);
