// Texts of coloured tokens that answer: keys, mouse and touch ask a token for all that is kept of it.
//
// Each section.tokens holds its data as JSON; token_data.py says what stands in it and has rounded every number. What is
// shown here is put in as text, never as markup, and nothing is fetched. Without this script the page is whole: spans
// with colours and titles.
(() => {
  "use strict";

  const SURPRISE_BITS = 8; // from here a token is a surprise, until the reader says otherwise
  const FLOATS = "llamadiv-floats";
  const WIDE = 768; // pixels from which there is room for the panel beside the text
  const BLANK = /[\s·⏎→]/;
  const MARKED = /^⟨.*⟩$/; // a control token, or bytes that are no text
  const HINT =
    "Tap a token, or move with the arrow keys; w and b go by word, n and N to the next surprise and the one before, " +
    "c changes the colour, Escape closes.";
  const utf8 = new TextEncoder();

  function make(tag, attributes, ...inside) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...inside);
    return made;
  }

  function button(name, label, act) {
    const made = make("button", { type: "button", class: name, "aria-label": label, title: label });
    made.addEventListener("click", act);
    return made;
  }

  // ---- pieces: a string is its own bytes, [drawn, hex] has others, [drawn] is a control token

  function drawn(piece) {
    return typeof piece === "string" ? piece.replace(/^ | $/g, "·") : piece[0];
  }

  function bytesOf(piece) {
    if (typeof piece !== "string" && piece.length === 1) return "control token, no bytes";
    const hex =
      typeof piece === "string"
        ? Array.from(utf8.encode(piece), (one) => one.toString(16).padStart(2, "0"))
        : piece[1].match(/../g) || [];
    const shown = hex.slice(0, 24).join(" ").toUpperCase();
    return hex.length === 0 ? "no bytes" : `bytes ${shown}` + (hex.length > 24 ? ` … (${hex.length})` : "");
  }

  // ---- numbers, as they are written: "∞" is one already, null is none

  const bits = (value) => (typeof value === "number" ? value.toFixed(2) : value === null ? "–" : value);
  const signed = (value) => (value > 0 ? "+" : "") + bits(value);
  const plain = (value) => (value === null ? "–" : String(value));

  // The cells of a text in order: a token each, and before tokens that make one glyph together that glyph.
  function cellsOf(text) {
    const sizes = new Map(text.groups);
    return text.tokens.flatMap((_, at) => {
      const token = { first: at, n: 1 };
      return sizes.has(at) ? [{ first: at, n: sizes.get(at) }, token] : [token];
    });
  }

  class Tokens {
    constructor(section, number) {
      this.section = section;
      this.data = JSON.parse(section.querySelector('script[type="application/json"]').textContent);
      this.cells = this.data.texts.map(cellsOf);
      this.blocks = [...section.querySelectorAll(".block")];
      this.spans = this.blocks.map((block) => [...block.querySelectorAll(".text > span")]);
      this.place = 0; // the block in which one moves
      this.chosen = null; // the number of a cell
      this.titles = this.spans.map((spans) => spans.map((span) => span.title));
      this.enliven();
      this.furnish(number);
      this.colour(this.data.first);
      this.close();
      section.classList.add("alive");
      document.addEventListener(FLOATS, () => section.matches(".afloat") && this.close());
      new ResizeObserver(() => section.classList.toggle("wide", section.clientWidth >= WIDE)).observe(section);
    }

    textOf(place) {
      return this.data.texts.length > 1 ? place : 0;
    }

    // ---- what is there becomes a list of options; what is told of them goes elsewhere

    enliven() {
      this.blocks.forEach((block, place) => {
        const list = block.querySelector(".text");
        list.setAttribute("role", "listbox");
        list.setAttribute("aria-orientation", "horizontal");
        list.setAttribute("aria-label", block.querySelector("h3")?.textContent || "Tokens of the text");
        this.spans[place].forEach((span, at) => {
          span.setAttribute("role", "option");
          span.setAttribute("aria-selected", "false");
          span.removeAttribute("title"); // the panel says it
          if (at === 0) span.tabIndex = 0;
        });
        list.addEventListener("click", (event) => {
          const at = this.spans[place].indexOf(event.target.closest(".text > span"));
          if (at >= 0) this.choose(place, at, true);
        });
        list.addEventListener("keydown", (event) => this.press(place, event));
        list.addEventListener("pointerover", (event) => {
          const at = this.spans[place].indexOf(event.target.closest(".text > span"));
          if (event.pointerType === "mouse" && at >= 0) this.tell(place, at);
        });
        list.addEventListener("pointerleave", () => this.tell(this.place, this.chosen));
      });
    }

    furnish(number) {
      this.radios = this.data.views.map((view, at) => {
        const radio = make("input", { type: "radio", name: `coloured-${number}`, value: view.name });
        radio.addEventListener("change", () => this.colour(at));
        return radio;
      });
      const labels = this.data.views.map((view, at) => make("label", {}, this.radios[at], ` ${view.name}`));
      this.least = make("input", { type: "number", min: "0", max: "99", step: "0.5", value: String(SURPRISE_BITS) });
      const controls = make(
        "form",
        { class: "controls" },
        make("div", { role: "radiogroup", "aria-label": "Colour" }, make("b", {}, "Colour"), ...labels),
        make("label", { class: "least" }, "A surprise has at least ", this.least, " bits"),
      );
      controls.addEventListener("submit", (event) => event.preventDefault());
      this.told = make("div", { class: "told" });
      this.spoken = make("p", { class: "spoken", role: "status" });
      this.panel = make(
        "aside",
        { class: "asked", "aria-label": "What is kept of the token" },
        make(
          "div",
          { class: "buttons" },
          button("previous", "Token before", () => this.choose(this.place, this.step(-1))),
          button("next", "Token after", () => this.choose(this.place, this.step(1))),
          button("surprise", "Next surprise", () => this.seek(1)),
          button("close", "Close", () => this.close()),
        ),
        this.told,
        this.spoken,
      );
      const [legend, ...others] = this.section.querySelectorAll(".legend");
      for (const other of others) other.remove();
      this.legend = legend;
      const head = make("div", { class: "head" }, controls, make("p", { class: "hint" }, HINT));
      this.section.prepend(...this.section.querySelectorAll("h2"), head);
      head.after(make("div", { class: "texts" }, ...this.blocks, legend), this.panel);
      this.section.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && this.chosen !== null) this.close();
      });
    }

    // ---- what is coloured

    colour(at) {
      const view = this.data.views[at];
      this.view = view;
      this.radios[at].checked = true;
      this.blocks.forEach((block, place) => {
        block.hidden = !(place in view.blocks);
        if (block.hidden) return;
        this.spans[place].forEach((span, cell) => {
          const digit = view.blocks[place][cell];
          const kept = span.classList.contains("chosen") ? " chosen" : "";
          span.className = (digit === "-" ? "nothing" : view.ramp[digit][0]) + kept;
          if (view.numbers) this.number(span, view.numbers[place][cell]);
        });
      });
      const ramp = view.ramp.map(([name, label]) => make("span", { class: name }, label));
      this.legend.replaceChildren(
        ...view.above.map((sentence) => make("p", {}, sentence)),
        make("p", { class: "ramp" }, "steps ", ...ramp),
        ...view.below.map((sentence) => make("p", {}, sentence)),
      );
      if (this.blocks[this.place]?.hidden) this.move(Number(Object.keys(view.blocks)[0]));
    }

    recolour(by) {
      const n = this.data.views.length;
      this.colour((this.data.views.indexOf(this.view) + by + n) % n);
      this.spoken.textContent = `Coloured by ${this.view.name}`;
      if (this.chosen !== null) this.spans[this.place][this.chosen].focus();
    }

    number(span, written) {
      span.querySelector("i.number")?.remove();
      if (written) span.append(make("i", { class: "number" }, written));
    }

    // To the same token where it is now shown.
    move(place) {
      const chosen = this.chosen;
      this.place = place;
      if (chosen !== null) this.choose(place, chosen);
    }

    // ---- what is chosen

    choose(place, at, takesFocus) {
      if (at === undefined || at < 0 || at >= this.spans[place].length) return;
      this.mark("false");
      this.place = place;
      this.chosen = at;
      this.mark("true");
      const span = this.spans[place][at];
      for (const one of this.spans[place]) one.removeAttribute("tabindex");
      span.tabIndex = 0;
      this.section.classList.add("open");
      this.tell(place, at);
      this.spoken.textContent = this.speech(place, at);
      this.section.style.setProperty("--covered", `${this.panel.offsetHeight}px`);
      if (takesFocus) span.focus({ preventScroll: true });
      span.scrollIntoView({ block: "nearest" });
      this.float(span);
    }

    // Where a page's own boxes keep the panel from staying in view, it floats over the page; one of them at a time.
    float(span) {
      if (this.section.matches(".wide, .afloat") || this.panel.getBoundingClientRect().bottom <= innerHeight + 1) return;
      document.dispatchEvent(new Event(FLOATS)); // heard by other copies of this script too
      this.section.classList.add("afloat");
      this.section.style.setProperty("--covered", `${this.panel.offsetHeight}px`);
      span.scrollIntoView({ block: "nearest" });
    }

    // The chosen cell, in every block that shows its text.
    mark(isChosen) {
      if (this.chosen === null) return;
      this.blocks.forEach((_, place) => {
        if (this.textOf(place) !== this.textOf(this.place)) return;
        const span = this.spans[place][this.chosen];
        span.setAttribute("aria-selected", isChosen);
        span.classList.toggle("chosen", isChosen === "true");
      });
    }

    close() {
      this.mark("false");
      this.chosen = null;
      this.spoken.textContent = "";
      this.section.classList.remove("open", "afloat");
      this.tell(this.place, null);
    }

    press(place, event) {
      if (event.altKey || event.metaKey) return;
      const at = this.spans[place].indexOf(event.target.closest(".text > span"));
      if (at < 0) return;
      if (this.chosen !== at || this.place !== place) this.choose(place, at);
      const keys = {
        w: () => this.word(1),
        b: () => this.word(-1),
        g: () => 0,
        G: () => this.spans[place].length - 1,
        ArrowRight: () => (event.ctrlKey ? this.word(1) : this.step(1)),
        ArrowLeft: () => (event.ctrlKey ? this.word(-1) : this.step(-1)),
        ArrowDown: () => this.line(1),
        ArrowUp: () => this.line(-1),
        Home: () => 0,
        End: () => this.spans[place].length - 1,
        Enter: () => at,
        " ": () => at,
      };
      if (event.ctrlKey && !event.key.startsWith("Arrow")) return;
      if (/^n$/i.test(event.key)) this.seek(event.key === "n" ? 1 : -1, true);
      else if (/^c$/i.test(event.key)) this.recolour(event.key === "c" ? 1 : -1);
      else if (Object.hasOwn(keys, event.key)) this.choose(place, keys[event.key](), true);
      else return;
      event.preventDefault();
    }

    // To the next surprise, or the one before; where there is none that is said.
    seek(by, takesFocus) {
      const at = this.surprise(by);
      this.choose(this.place, at, takesFocus);
      if (at !== undefined) return;
      const none = `No token ${by > 0 ? "further on" : "before"} has ${this.least.value} bits or more.`;
      if (this.chosen !== null) this.told.replaceChildren(make("p", {}, none), ...this.all(this.place, this.chosen));
      this.spoken.textContent = none;
    }

    // ---- where a key leads: the number of a cell, or undefined

    step(by) {
      return this.chosen === null ? 0 : this.chosen + by;
    }

    word(by) {
      const spans = this.spans[this.place];
      const text = (at) => spans[at].textContent;
      const begins = (at) =>
        MARKED.test(text(at)) ||
        MARKED.test(text(at - 1)) ||
        (/[^\s·⏎→]/.test(text(at)) && (BLANK.test(text(at)[0]) || BLANK.test(text(at - 1).at(-1))));
      let at = this.chosen + by;
      while (at > 0 && at < spans.length && !begins(at)) at += by;
      return at;
    }

    // The token nearest in the line above or below.
    line(by) {
      const spans = this.spans[this.place];
      const from = spans[this.chosen].getClientRects()[0];
      let found, least;
      for (let at = this.chosen + by; at >= 0 && at < spans.length; at += by) {
        const box = spans[at].getClientRects()[0];
        const down = by * (box.top - from.top);
        if (down < from.height / 2) continue;
        if (found === undefined) least = { top: box.top, far: Infinity };
        if (Math.abs(box.top - least.top) > from.height / 2) break;
        const far = Math.abs(box.left - from.left);
        if (far < least.far) [found, least.far] = [at, far];
      }
      return found;
    }

    // A surprise under any model of the text; of a difference, a large one.
    surprise(by) {
      const place = this.place;
      const text = this.data.texts[this.textOf(place)];
      const cells = this.cells[this.textOf(place)];
      const columns = this.view.name === "difference" ? [text.difference] : text.models.map((one) => one.surprisal);
      const far = (value) => (typeof value === "number" ? Math.abs(value) : value === null ? 0 : Infinity);
      const least = Number(this.least.value);
      for (let at = (this.chosen ?? -1) + by; at >= 0 && at < cells.length; at += by) {
        if (cells[at].n === 1 && columns.some((column) => far(column[cells[at].first]) >= least)) return at;
      }
      return undefined;
    }

    // ---- what is told

    tell(place, at) {
      this.panel.hidden = at === null;
      if (at !== null) this.told.replaceChildren(...this.all(place, at));
    }

    all(place, at) {
      const text = this.data.texts[this.textOf(place)];
      const cell = this.cells[this.textOf(place)][at];
      const name = make("b", { class: "name" }, this.spans[place][at].textContent);
      if (cell.n > 1) return [make("p", {}, name), make("p", {}, this.titles[place][at])];
      const piece = this.data.pieces[text.tokens[cell.first]];
      name.textContent = drawn(piece);
      const where = `token ${cell.first + 1} of ${text.tokens.length}`;
      return [
        make("p", { class: "what" }, name, make("span", {}, where), make("span", {}, bytesOf(piece))),
        this.numbers(text, cell.first),
        make("div", { class: "models" }, ...text.models.map((one, nth) => this.likeliest(one, nth, text, cell.first))),
      ];
    }

    numbers(text, token) {
      const two = text.models.length > 1;
      const row = (heading, ...values) =>
        make("tr", {}, make("th", { scope: "row" }, heading), ...values.map((value) => make("td", {}, value)));
      const each = (write) => text.models.map((one) => write(one, token));
      const rows = [
        row("surprisal", ...each((one) => `${bits(one.surprisal[token])} bits`)),
        row("probability", ...each((one) => `${plain(one.percent[token])} %`)),
        row("rank", ...each((one) => plain(one.rank[token]))),
        row("entropy", ...each((one) => `${bits(one.entropy[token])} bits`)),
        row("varentropy", ...each((one) => `${bits(one.varentropy[token])} bits²`)),
      ];
      if (two) {
        rows.unshift(make("tr", {}, make("td", {}), ...each((one) => make("th", { scope: "col" }, one.heading))));
        rows.push(row("B − A", `${signed(text.difference[token])} bits`));
        rows.at(-1).lastChild.colSpan = 2;
      }
      const [first] = text.models;
      if (first.sampler_surprisal) {
        rows.push(row("as drawn from: surprisal", `${bits(first.sampler_surprisal[token])} bits`));
        rows.push(row("as drawn from: entropy", `${bits(first.sampler_entropy[token])} bits`));
      }
      (first.under?.[token] ?? []).forEach((value, model) => {
        rows.push(row(`surprisal under model ${model + 1} alone`, `${bits(value)} bits`));
      });
      if (first.source?.[token]) rows.push(row("from model", String(first.source[token])));
      return make("table", { class: "numbers" }, ...rows);
    }

    // The likeliest tokens in this place, each on a bar as wide as its probability.
    likeliest(model, nth, text, token) {
      const list = make("ol", { class: `likeliest model-${nth}` });
      const top = model.top[token];
      let left = 100,
        isThere = false;
      for (let at = 0; at < top.length; at += 2) {
        left -= top[at + 1];
        const isIt = top[at] === text.tokens[token];
        isThere ||= isIt;
        list.append(this.bar(drawn(this.data.pieces[top[at]]), `${top[at + 1]} %`, top[at + 1], isIt));
      }
      if (top.length && !isThere) {
        const percent = model.percent[token];
        left -= percent;
        list.append(this.bar(drawn(this.data.pieces[text.tokens[token]]), `${percent} %`, percent, true));
      }
      if (top.length && left > 0.1) {
        list.append(this.bar("all others", left < 1 ? "under 1 %" : `${Math.round(left)} %`, left, false));
        list.lastChild.classList.add("others");
      }
      const heading = text.models.length > 1 ? `Likeliest under ${model.heading}` : "Likeliest here";
      return make("div", {}, make("h4", {}, top.length ? heading : "No alternatives are kept here"), list);
    }

    bar(name, share, percent, isIt) {
      const bar = make("span", { class: "bar" });
      bar.style.width = `${Math.min(100, percent)}%`;
      const one = make("li", {}, bar, make("span", { class: "name" }, name), make("span", { class: "share" }, share));
      if (isIt) {
        one.className = "it";
        one.lastChild.append(make("span", { class: "spoken" }, " (this one)"));
      }
      return one;
    }

    speech(place, at) {
      const text = this.data.texts[this.textOf(place)];
      const cell = this.cells[this.textOf(place)][at];
      if (cell.n > 1) return this.titles[place][at];
      const token = cell.first;
      const told = text.models.map((one) => {
        const whose = text.models.length > 1 ? `${one.heading}: ` : "";
        if (one.surprisal[token] === null) return `${whose}no value`;
        const best = one.top[token].length
          ? `; likeliest ${drawn(this.data.pieces[one.top[token][0]])}, ${one.top[token][1]} %`
          : "";
        return `${whose}surprisal ${bits(one.surprisal[token])} bits, rank ${plain(one.rank[token])}${best}`;
      });
      return `${drawn(this.data.pieces[text.tokens[token]])}, token ${token + 1}. ${told.join(". ")}`;
    }
  }

  [...document.querySelectorAll("section.tokens:not(.alive)")].forEach((section) => {
    const others = document.querySelectorAll("section.tokens.alive").length;
    if (section.querySelector('script[type="application/json"]')) new Tokens(section, others);
  });
})();
