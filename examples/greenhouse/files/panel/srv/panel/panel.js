// Shows what the beds publish: greenhouse/BED/reading and greenhouse/BED/valve.
import { listen } from "./mqtt.js";

const KEEP = 120; // readings in the curve, one a second
const STALE = 10_000; // milliseconds after which a bed is greyed

const beds = new Map();

function bed(name) {
  if (!beds.has(name)) {
    const card = document.getElementById("bed").content.firstElementChild.cloneNode(true);
    card.querySelector("h2").textContent = name;
    document.getElementById("empty")?.remove();
    const after = [...beds.keys()].filter((n) => n > name).sort()[0];
    document.getElementById("beds").insertBefore(card, after ? beds.get(after).card : null);
    beds.set(name, { card, history: [], heard: 0 });
  }
  return beds.get(name);
}

const percent = (x) => `${Math.round(100 * x)} %`;

function reading(b, r) {
  if (![r.moisture, r.temperature, r.humidity].every(Number.isFinite)) return;
  b.heard = Date.parse(r.time) || Date.now();
  b.history.push(r.moisture);
  b.history.splice(0, b.history.length - KEEP);
  const set = (selector, value) => { b.card.querySelector(selector).textContent = value; };
  set(".moisture strong", percent(r.moisture));
  set(".temperature", `${r.temperature.toFixed(1)} °C`);
  set(".humidity", percent(r.humidity));
  set(".heard", new Date(b.heard).toLocaleTimeString());
  b.card.querySelector("meter").value = r.moisture;
  const start = KEEP - b.history.length;
  const points = b.history.map((m, i) => `${start + i},${(31 - 30 * m).toFixed(2)}`);
  b.card.querySelector("polyline").setAttribute("points", points.join(" "));
}

function valve(b, state) {
  const el = b.card.querySelector(".valve");
  el.dataset.state = state === "open" ? "open" : "closed";
  el.textContent = state === "open" ? "watering" : "valve closed";
}

function onMessage({ topic, payload }) {
  const [, name, what] = topic.split("/");
  if (what === "valve") return valve(bed(name), payload);
  try {
    reading(bed(name), JSON.parse(payload));
  } catch {
    console.warn("not a reading:", topic, payload);
  }
}

function onState(state) {
  const el = document.getElementById("link");
  el.dataset.state = state;
  el.textContent = state === "live" ? "Live" : "Connecting";
}

setInterval(() => {
  let now = 0; // the newest reading is the clock: the machine's need not be this one's
  for (const b of beds.values()) now = Math.max(now, b.heard);
  for (const b of beds.values()) b.card.classList.toggle("stale", now - b.heard > STALE);
}, 1000);

const scheme = location.protocol === "https:" ? "wss:" : "ws:";
listen(`${scheme}//${location.host}/mqtt`, ["greenhouse/+/reading", "greenhouse/+/valve"], { onMessage, onState });
