// An episode of a dataset: its videos and plots, with one time for all of them.
//
// <armlet-scrubber src="address of the episode" words="JSON of what it says">. The time is a row of
// the dataset. Whatever comes from a file is shown as text. The event `row` has the row where the
// person stopped.
(() => {
  const COLOURS = { action: "#d9661f", state: "#2b86d1" };
  // A seek shows the picture that the time is in: a quarter of a row behind its beginning.
  const WITHIN = 0.25;
  const LATE_S = 0.15;
  const HEIGHT = 96;

  const videoTime = (video, row, fps) => video.from_s + (row + WITHIN) / fps;

  function valueAt(line, row) {
    if (!line) return null;
    const [rows, values] = line;
    let low = 0, high = rows.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (rows[middle] <= row) low = middle; else high = middle - 1;
    }
    return rows.length ? values[low] : null;
  }

  function range(plot) {
    const values = [plot.state, plot.action].flatMap((line) => (line ? line[1] : [])).filter((v) => v !== null);
    if (!values.length) return [0, 1];
    const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    return high > low ? [low, high] : [low - 1, high + 1];
  }

  function made(name, classes, text) {
    const element = document.createElement(name);
    element.className = classes;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  class Scrubber extends HTMLElement {
    static observedAttributes = ["src"];

    connectedCallback() {
      this._watch = new ResizeObserver(() => this._draw());
      this._watch.observe(this);
      this._load();
    }

    disconnectedCallback() {
      this._watch.disconnect();
      this._pause();
      this._asked = null;
    }

    attributeChangedCallback() {
      if (this.isConnected && this._watch) this._load();
    }

    get _words() {
      return JSON.parse(this.getAttribute("words") || "{}");
    }

    async _load() {
      const src = this.getAttribute("src");
      this._pause();
      this._asked = src;
      this._episode = null;
      this.replaceChildren(made("p", "", src ? this._words.loading : ""));
      if (!src) return;
      let found = null, why = this._words.failed;
      try {
        const answer = await fetch(src);
        if (answer.ok) found = await answer.json(); else why = await answer.text();
      } catch { /* the console does not answer: said below */ }
      if (this._asked !== src) return;
      if (!found) {
        this.replaceChildren(made("p", "armlet-problem", why));
        return;
      }
      this._episode = found;
      this._row = 0;
      this._build();
      this._draw();
      this._show(0, true);
    }

    _build() {
      const { videos, plots, length, problem } = this._episode;
      this._views = videos.map((video) => this._view(video));
      this._button = made("button", "scrubber-play", "▶");
      this._button.type = "button";
      this._button.setAttribute("aria-label", this._words.play);
      this._button.onclick = () => (this._playing ? this._pause() : this._play());
      this._slider = made("input", "scrubber-time");
      Object.assign(this._slider, { type: "range", min: 0, max: length - 1, step: 1, value: 0 });
      this._slider.setAttribute("aria-label", this._words.time);
      this._slider.oninput = () => { this._pause(); this._show(Number(this._slider.value), true); };
      this._slider.onchange = () => this._say();
      this._clock = made("output", "scrubber-clock");
      const bar = made("div", "scrubber-bar");
      bar.append(this._button, this._slider, this._clock);
      const pictures = made("div", "scrubber-videos"), lines = made("div", "scrubber-plots");
      pictures.append(...this._views.map((view) => view.figure));
      this._plots = plots.map((plot) => this._plot(plot));
      lines.append(...this._plots.map((plot) => plot.figure));
      const parts = [pictures, bar, lines];
      if (problem) parts.unshift(made("p", "armlet-problem", problem));
      this.replaceChildren(...parts);
    }

    _view(video) {
      const figure = made("figure", "");
      const view = { video, figure, player: null, image: null, busy: false, wanted: null };
      if (video.problem) {
        figure.append(made("p", "armlet-problem", video.problem));
      } else if (video.single) {
        this._pictures(view);
      } else {
        const player = made("video", "");
        Object.assign(player, { muted: true, playsInline: true, preload: "auto", src: video.url });
        player.setAttribute("aria-label", video.camera);
        player.disablePictureInPicture = true;
        // A codec that this browser does not play: pictures one by one instead.
        player.onerror = () => { if (view.player) { player.remove(); this._pictures(view); this._show(this._row, true); } };
        player.onloadedmetadata = () => this._seek(view);
        view.player = player;
        figure.prepend(player);
      }
      figure.append(made("figcaption", "", video.camera));
      return view;
    }

    _pictures(view) {
      view.player = null;
      view.image = made("img", "");
      view.image.alt = view.video.camera;
      view.image.onload = view.image.onerror = () => {
        view.busy = false;
        if (view.wanted !== null) this._picture(view, view.wanted);
      };
      view.figure.prepend(view.image);
    }

    // One is fetched at a time, and then the newest that is wanted.
    _picture(view, row) {
      view.wanted = view.busy ? row : null;
      if (view.busy || view.row === row) return;
      view.busy = true;
      view.row = row;
      view.image.src = `${view.video.picture_url}&row=${row}`;
    }

    _plot(plot) {
      const figure = made("figure", ""), caption = made("figcaption", "");
      const canvas = made("canvas", ""), cursor = made("div", "scrubber-cursor");
      const values = made("span", "scrubber-values"), box = made("div", "scrubber-canvas");
      const name = plot.unit ? `${plot.name} (${plot.unit})` : plot.name;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", name);
      caption.append(made("b", "", name), values);
      box.append(canvas, cursor);
      figure.append(caption, box);
      const go = (event) => {
        if (!event.buttons) return;
        const place = box.getBoundingClientRect();
        const share = Math.min(1, Math.max(0, (event.clientX - place.left) / place.width));
        this._pause();
        this._show(Math.round(share * (this._episode.length - 1)), true);
      };
      box.onpointerdown = (event) => { box.setPointerCapture(event.pointerId); go(event); };
      box.onpointermove = go;
      box.onpointerup = () => this._say();
      return { plot, figure, canvas, cursor, values, range: range(plot) };
    }

    _draw() {
      if (!this._episode) return;
      const last = Math.max(1, this._episode.length - 1), ink = getComputedStyle(this).color;
      for (const { plot, canvas, range: [low, high] } of this._plots) {
        const width = canvas.parentElement.clientWidth, ratio = window.devicePixelRatio || 1;
        if (!width) continue;
        Object.assign(canvas, { width: width * ratio, height: HEIGHT * ratio });
        const pen = canvas.getContext("2d");
        pen.scale(ratio, ratio);
        const x = (row) => (row / last) * width, y = (value) => 4 + (HEIGHT - 8) * (1 - (value - low) / (high - low));
        pen.globalAlpha = 0.12;
        pen.fillStyle = ink;
        for (const [first, end] of this._episode.person) pen.fillRect(x(first - 0.5), 0, x(end + 0.5) - x(first - 0.5), HEIGHT);
        pen.globalAlpha = 1;
        for (const what of ["action", "state"]) {
          if (!plot[what]) continue;
          pen.strokeStyle = COLOURS[what];
          pen.lineWidth = 1.5;
          pen.setLineDash(what === "action" ? [5, 3] : []);
          pen.beginPath();
          let gap = true;
          plot[what][0].forEach((row, at) => {
            const value = plot[what][1][at];
            if (value !== null) pen[gap ? "moveTo" : "lineTo"](x(row), y(value));
            gap = value === null;
          });
          pen.stroke();
        }
      }
      this._show(this._row, false);
    }

    // Everything at this row. seek: the videos too; they go on by themselves while they play.
    _show(row, seek) {
      if (!this._episode) return;
      const { fps, length } = this._episode, said = (v) => (v === null ? "–" : v.toPrecision(4));
      this._row = row;
      this._slider.value = row;
      this._clock.textContent = `${(row / fps).toFixed(2)} / ${((length - 1) / fps).toFixed(2)} s · ${this._words.row} ${row}`;
      for (const { plot, cursor, values } of this._plots) {
        cursor.style.left = `${(100 * row) / Math.max(1, length - 1)}%`;
        values.replaceChildren(
          ...["state", "action"].filter((what) => plot[what]).map((what) => {
            const part = made("span", "", ` ${this._words[what]} ${said(valueAt(plot[what], row))}`);
            part.style.borderBottom = `2px ${what === "action" ? "dashed" : "solid"} ${COLOURS[what]}`;
            return part;
          }),
        );
      }
      for (const view of this._views) {
        if (view.image) this._picture(view, row);
        else if (seek) this._seek(view);
      }
    }

    _seek(view) {
      if (view.player && view.player.readyState > 0) view.player.currentTime = videoTime(view.video, this._row, this._episode.fps);
    }

    _play() {
      const { fps, length } = this._episode;
      if (this._row >= length - 1) this._show(0, true);
      this._playing = true;
      this._button.textContent = "⏸";
      this._button.setAttribute("aria-label", this._words.pause);
      const players = this._views.filter((view) => view.player);
      for (const view of players) view.player.play().catch(() => {});
      let time = this._row / fps, before = performance.now();
      const step = (now) => {
        if (!this._playing) return;
        // A video that has to wait for its data stops the time of all.
        const waits = players.some((view) => view.player && view.player.readyState < 3);
        if (!waits) time += (now - before) / 1000;
        before = now;
        for (const view of players) {
          if (!view.player) continue;
          const due = view.video.from_s + time;
          if (waits && view.player.readyState >= 3) view.player.pause();
          else if (view.player.paused) view.player.play().catch(() => {});
          if (!waits && Math.abs(view.player.currentTime - due) > LATE_S) view.player.currentTime = due + WITHIN / fps;
        }
        const row = Math.min(length - 1, Math.floor(time * fps + 0.01));
        if (row !== this._row) this._show(row, false);
        if (row >= length - 1) { this._pause(); this._say(); return; }
        requestAnimationFrame(step);
      };
      requestAnimationFrame(step);
    }

    _pause() {
      if (!this._playing) return;
      this._playing = false;
      this._button.textContent = "▶";
      this._button.setAttribute("aria-label", this._words.play);
      for (const view of this._views) {
        if (view.player) view.player.pause();
        this._seek(view);
      }
      this._say();
    }

    _say() {
      this.dispatchEvent(new CustomEvent("row", { detail: this._row }));
    }
  }

  customElements.define("armlet-scrubber", Scrubber);
})();
