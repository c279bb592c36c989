// The stop button and its key. Needs nothing of the page's library, which may have ended.
"use strict";
(() => {
  const TRY_MS = 500, LOOK_MS = 250, SHOWN_MS = 15000;
  const button = document.getElementById("armlet-stop");
  const note = document.getElementById("armlet-stop-note");
  const words = button.dataset;
  let wanted = 0;   // how often it was pressed
  let confirmed = 0;
  let working = false;
  let hiding = 0;

  function say(text, level) {
    clearTimeout(hiding);
    note.textContent = text;
    note.dataset.level = level;
    note.hidden = false;
    if (level === "good") hiding = setTimeout(() => { note.hidden = true; }, SHOWN_MS);
  }

  const later = (ms) => new Promise((done) => setTimeout(done, ms));

  async function ask(method) {
    const ends = new AbortController();
    const timer = setTimeout(() => ends.abort(), 4 * TRY_MS);
    try {
      return await fetch("/stop", { method, signal: ends.signal, cache: "no-store", keepalive: true });
    } finally {
      clearTimeout(timer);
    }
  }

  async function work() {
    if (working) return;
    working = true;
    while (confirmed < wanted) {
      const now = wanted;
      try {
        let answer = await ask("POST");
        if (!answer.ok) {
          say(words.refused.replace("{status}", answer.status), "bad");
          await later(TRY_MS);
          continue;
        }
        let standing = await answer.json();
        while (standing.stopping && now === wanted) {
          say(words.sending + " — " + standing.stopping, "bad");
          await later(LOOK_MS);
          answer = await ask("GET");
          if (!answer.ok) break;
          standing = await answer.json();
        }
        if (!answer.ok || standing.stopping) continue;
        const said = standing.answers.filter(([subject]) => subject.endsWith("servo_bus/stop"));
        const last = said.map(([subject, text]) => subject.replace("/stop", "") + ": " + text);
        say(words.done + (last.length ? " — " + [...new Set(last)].join("; ") : ""), "good");
        confirmed = now;
      } catch (error) {
        say(words.notSent, "bad");
        await later(TRY_MS);
      }
    }
    working = false;
  }

  function stop() {
    wanted += 1;
    say(words.sending, "bad");
    work();
  }

  // With the finger's first touch; a click is of the keyboard.
  button.addEventListener("pointerdown", (event) => { if (event.button === 0) stop(); });
  button.addEventListener("click", (event) => { if (event.detail === 0) stop(); });

  const isTyping = (place) => place instanceof Element
    && (place.isContentEditable || place.matches("textarea, select, input:not([type=button]):not([type=checkbox]):not([type=radio]):not([type=range])"));

  // By the letter; where the keyboard writes none (an input method), by the key.
  const isKey = (event) => /^[ -~]$/.test(event.key)
    ? event.key.toLowerCase() === "x" : event.code === "KeyX";

  window.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || !isKey(event)) return;
    if (!event.altKey && isTyping(event.target)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    stop();
  }, { capture: true });
})();
