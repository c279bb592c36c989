// Keys as in `armlet session`, and what is said aloud. emitEvent is NiceGUI's.
"use strict";
(() => {
  const KEYS = "drsftemn", LOOK_MS = 100, KEPT = "armlet_sound";
  // Hertz and seconds, one after the other.
  const TONES = {
    start: [[880, .18]], end: [[660, .12], [440, .2]], low: [[440, .12]], tick: [[660, .07]],
    alarm: [[300, .25], [200, .25], [300, .25], [200, .4]],
  };
  let audio = null, before = null;

  const isTyping = (place) => place instanceof Element
    && (place.isContentEditable || place.matches("textarea, select, input:not([type=button]):not([type=checkbox]):not([type=radio]):not([type=range])"));
  // Where the space presses what has the focus.
  const takesSpace = (place) => place instanceof Element && !place.closest("button:disabled")
    && place.closest("button, a, input, summary, video, [role=button], [role=option], [role=listbox]") !== null;

  // By the letter; where the keyboard writes none (an input method), by the key.
  const keyOf = (event) => {
    if (event.key === " " || event.code === "Space") return " ";
    const key = /^[ -~]$/.test(event.key) ? event.key.toLowerCase() : event.code.replace(/^Key/, "").toLowerCase();
    return key.length === 1 && KEYS.includes(key) ? key : null;
  };

  window.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const key = keyOf(event);
    if (key === null || (key === " " && takesSpace(event.target))) return;
    event.preventDefault();
    ask(key);
  });

  // With what the person saw: what comes late is judged by that.
  function ask(key) {
    const board = document.getElementById("armlet-board");
    // What is pressed while nobody hears it is not done once somebody does.
    if (!board || (window.socket && !window.socket.connected)) return;
    emitEvent("armlet_key", { key, shown: board.dataset.state, stops: board.dataset.stops });
  }

  window.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest(".record-page button");
    if (!button || button.disabled) return;
    if (button.dataset.key) ask(button.dataset.key);
    // One that a finger pressed keeps the focus, which the library puts on a part of it; the next
    // space is for the recorder all the same.
    if (event.detail > 0) setTimeout(() => {
      if (button.contains(document.activeElement)) document.activeElement.blur();
    });
  });

  function tone(name) {
    audio = audio || new AudioContext();
    audio.resume();
    let at = audio.currentTime + .02;
    for (const [hertz, seconds] of TONES[name] || TONES.low) {
      const source = audio.createOscillator(), loud = audio.createGain();
      source.frequency.value = hertz;
      loud.gain.setValueAtTime(.2, at);
      loud.gain.linearRampToValueAtTime(0, at + seconds);
      source.connect(loud).connect(audio.destination);
      source.start(at);
      at += seconds;
      source.stop(at);
    }
  }

  function speak(text, language) {
    const voices = window.speechSynthesis ? speechSynthesis.getVoices() : [];
    const voice = voices.find((each) => each.lang.replace("_", "-").slice(0, 2) === language.slice(0, 2));
    if (!voice) return false;
    const said = new SpeechSynthesisUtterance(text);
    Object.assign(said, { voice, lang: language });
    speechSynthesis.cancel();  // what is older is wrong by now
    speechSynthesis.speak(said);
    return true;
  }

  const choice = () => document.getElementById("armlet-sound");
  const note = (text) => { document.getElementById("armlet-sound-note").textContent = text; };

  function hear(cue) {
    const way = choice() ? choice().value : "off";
    if (way === "off") return;
    const { tone: name, say } = cue.dataset;
    if (way === "tones") tone(name);
    else if (!speak(say, cue.lang)) { note(choice().dataset.silent); tone(name); }
    if (way === "speech" && name === "alarm") tone(name);
  }

  function look() {
    const cue = document.getElementById("armlet-cue");
    if (!cue || cue.dataset.key === before) return;
    // What was so when the page was opened is no news.
    if (before !== null) hear(cue);
    before = cue.dataset.key;
  }

  function wire() {
    const select = choice();
    if (!select || select.dataset.wired) return;
    select.dataset.wired = "yes";
    let kept = null;
    try { kept = localStorage.getItem(KEPT); } catch { /* a browser that keeps nothing */ }
    if ([...select.options].some((each) => each.value === kept)) select.value = kept;
    select.addEventListener("change", () => {
      try { localStorage.setItem(KEPT, select.value); } catch { /* as above */ }
      note("");
      const cue = document.getElementById("armlet-cue");
      if (cue) hear(cue);
    });
  }

  // A browser plays nothing before the first touch of the page.
  for (const kind of ["pointerdown", "keydown"]) {
    window.addEventListener(kind, () => { if (audio) audio.resume(); });
  }
  setInterval(() => { wire(); look(); }, LOOK_MS);
})();
