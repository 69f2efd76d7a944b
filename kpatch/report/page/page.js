"use strict";

// Steps through the counterexamples. All it shows stands in the rows of the table already.
const SVG = "http://www.w3.org/2000/svg";

function shape(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  if (text !== undefined) {
    made.textContent = text;
  }
  parent.append(made);
  return made;
}

function box(parent, x, y, width, text) {
  shape(parent, "rect", { class: "box", x, y, width, height: 36, rx: 5 });
  shape(parent, "text", { x: x + width / 2, y: y + 23, "text-anchor": "middle" }, text);
}

// The number of the TSS that a text such as "TSS 1 busy" names, or -1.
function numberOf(text) {
  const found = /^TSS (\d+)/.exec(text);
  return found ? Number(found[1]) : -1;
}

// Three columns: the slot, the CPUs with their TR, the TSSs. An arrow is "points to".
function draw(svg, row, cpus) {
  svg.replaceChildren();
  const top = (cpu) => 40 + 64 * cpu;
  for (const [x, words] of [[2, "GDT slot"], [190, "TR"], [500, "TSS of"]]) {
    shape(svg, "text", { x, y: 20 }, words);
  }
  const slot = row.dataset.slot;
  const middle = 40 + 32 * (cpus - 1);
  const group = shape(svg, "g", {});
  box(group, 2, middle, 140, slot);
  row.dataset.tasks.split("|").forEach((task, cpu) => {
    const target = numberOf(task);
    const foreign = target >= 0 && target !== cpu;
    const classes = [foreign ? "foreign" : "", Number(row.dataset.cpu) === cpu ? "moves" : ""];
    const lane = shape(svg, "g", { class: classes.join(" ").trim() });
    box(lane, 190, top(cpu), 180, `CPU ${cpu}: ${task}`);
    box(shape(svg, "g", {}), 500, top(cpu), 120, `CPU ${cpu}`);
    if (target >= 0 && target < cpus) {
      const [from, to] = [top(cpu) + 18, top(target) + 18];
      shape(lane, "path", { class: "arrow", d: `M370 ${from} C430 ${from} 440 ${to} 496 ${to}` });
      shape(lane, "path", { class: "arrow", d: `M488 ${to - 5} L497 ${to} L488 ${to + 5}` });
    }
  });
}

function say(row, number, count) {
  const wrong = row.dataset.wrong;
  const tasks = row.dataset.tasks.split("|").map((task, cpu) => `CPU ${cpu} has ${task}`);
  const lane = row.querySelectorAll("td")[Number(row.dataset.cpu)];
  const code = lane.querySelector("code");
  const done = code ? code.textContent.replace(/^\S+\s+/, "") : lane.textContent.trim();
  return `Step ${number} of ${count}: CPU ${row.dataset.cpu}, ${done}. The slot: ${row.dataset.slot}. `
    + `${tasks.join(", ")}.${wrong ? ` WRONG: ${wrong}.` : ""}`;
}

function start(section) {
  const rows = [...section.querySelectorAll("tbody tr[data-cpu]")];
  const picture = section.querySelector(".picture");
  const svg = picture.querySelector("svg");
  const now = picture.querySelector(".now");
  let at = 0;

  function show(number) {
    at = Math.min(Math.max(number, 0), rows.length - 1);
    rows.forEach((row, index) => {
      row.classList.toggle("here", index === at);
      if (index === at) {
        row.setAttribute("aria-current", "step");
      } else {
        row.removeAttribute("aria-current");
      }
    });
    draw(svg, rows[at], Number(section.dataset.cpus));
    now.textContent = say(rows[at], at + 1, rows.length);
    section.dataset.step = at + 1;
  }

  const moves = {
    first: () => show(0),
    back: () => show(at - 1),
    on: () => show(at + 1),
    last: () => show(rows.length - 1),
  };
  const keys = { ArrowLeft: "back", ArrowRight: "on", Home: "first", End: "last" };

  picture.querySelectorAll("button").forEach((button) => {
    button.addEventListener("click", moves[button.dataset.go]);
  });
  rows.forEach((row, index) => {
    row.addEventListener("click", (event) => {
      if (!event.target.closest("details")) {
        show(index);
      }
    });
  });
  picture.hidden = false;
  show(0);
  return (event) => {
    const move = keys[event.key];
    if (move && !event.altKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      moves[move]();
    }
  };
}

// The keys step the counterexample that has the focus, or else the first one that can be seen.
const sections = [...document.querySelectorAll("section.steps")].filter(
  (section) => section.querySelector("tbody tr[data-cpu]"),
);
const handlers = new Map(sections.map((section) => [section, start(section)]));
function isSeen(section) {
  const place = section.getBoundingClientRect();
  return place.top < window.innerHeight && place.bottom > 0;
}
document.addEventListener("keydown", (event) => {
  const focused = event.target.closest ? event.target.closest("section.steps") : null;
  const chosen = focused || sections.find(isSeen);
  const inOther = !focused && event.target.closest && event.target.closest(".scroll, details");
  if (chosen && !inOther) {
    handlers.get(chosen)(event);
  }
});
