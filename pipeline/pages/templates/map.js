"use strict";
(async () => {
  const find = (id) => document.getElementById(id);
  const data = JSON.parse(find("map-data").textContent);
  const n = data.count, k = data.k;
  const HIT = 14, STEP = 60, PAGE = 60, MOST_ZOOM = 2000, MOST_LABELS = 60, OTHER = 254, NONE = 255, MOST_PICTURED = 300, MANY = 30000;

  // What Python packed: base64 of gzip.
  const unpack = async (text) => {
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const [places, folded, names, ...codes] = await Promise.all(
    [data.positions, data.nearest, data.uris, ...data.colorings.map((one) => one.codes)].map(unpack));
  const uris = JSON.parse(new TextDecoder().decode(names));
  const short = uris.map((uri) => uri.replace(/\/+$/, "").split("/").slice(-2).join("/") || uri);
  const lower = uris.map((uri) => uri.toLowerCase());
  const grid = new Uint16Array(places.buffer);
  const px = Float32Array.from(grid.subarray(0, n), (v) => v / 65535);
  const py = Float32Array.from(grid.subarray(n), (v) => 1 - v / 65535);
  const nearestOf = (i) => Array.from({ length: k }, (_, j) => {
    const at = i * k + j, m = n * k;
    const v = folded[at] + 256 * folded[m + at] + 65536 * folded[2 * m + at];
    return i + (v % 2 ? -(v + 1) / 2 : v / 2);
  });

  const canvas = find("map"), pen = canvas.getContext("2d"), frame = find("map-frame");
  const isDark = matchMedia("(prefers-color-scheme: dark)");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const toBytes = (color) => {
    probe.fillStyle = color;
    probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data.subarray(0, 3)];
  };

  // ---- colours
  let chosen = data.coloring, colors = [], palette = null, labels = [];
  const TURN = 137.508;  // Degrees: however many hues there are, those of neighbours are far apart.
  const isNames = () => data.colorings[chosen].kind === "names";
  const hueOf = (code) => {
    const light = (isDark.matches ? [0.76, 0.64, 0.86] : [0.6, 0.5, 0.7])[Math.floor(code / 7) % 3];
    return `oklch(${light} 0.16 ${(255 + code * TURN) % 360})`;
  };
  const ramp = (code) => {
    const t = code / 253;
    const light = isDark.matches ? 0.45 + 0.47 * t : 0.86 - 0.52 * t;
    return `oklch(${light} ${0.1 + 0.08 * Math.sin(Math.PI * t)} ${isDark.matches ? 290 - 190 * t : 100 + 190 * t})`;
  };
  const recolor = () => {
    const { labels: told } = data.colorings[chosen];
    const gray = toBytes(css("dim"));
    colors = Array.from({ length: 256 }, (_, code) => {
      if (code >= OTHER || (isNames() && code >= told.length)) return gray;
      return toBytes(isNames() ? hueOf(code) : ramp(code));
    });
    palette = Int32Array.from(colors, ([r, g, b]) => b << 16 | g << 8 | r);
    placeLabels();
  };
  const nameOf = (i) => {
    const { labels: told } = data.colorings[chosen], code = codes[chosen][i];
    if (code === NONE) return "no value";
    if (code === OTHER) return "another value";
    return isNames() ? told[code] : `about ${told[code]}`;
  };
  // A name is written where most of its dots are; one that is all over the map is not.
  const placeLabels = () => {
    labels = [];
    if (!isNames() || data.colorings[chosen].labels.length < 2) return;
    const members = data.colorings[chosen].labels.map(() => []);
    codes[chosen].forEach((code, i) => { if (code < OTHER) members[code].push(i); });
    const middle = (values) => values.sort()[values.length >> 1];
    members.slice(0, MOST_LABELS).forEach((dots, code) => {
      const x = middle(Float32Array.from(dots, (i) => px[i])), y = middle(Float32Array.from(dots, (i) => py[i]));
      const away = middle(Float32Array.from(dots, (i) => Math.hypot(px[i] - x, py[i] - y)));
      if (away < 0.08) labels.push({ x, y, away, text: data.colorings[chosen].labels[code].slice(0, 24) });
    });
  };

  // ---- the view: a dot at (x, y) in [0, 1] is drawn at (x * scale + left, y * scale + top).
  const view = { scale: 1, left: 0, top: 0, fit: 1 };
  let width = 0, height = 0, ratio = 1, image = null, pixels = null;
  const resize = () => {
    const middle = [(width / 2 - view.left) / view.scale, (height / 2 - view.top) / view.scale], was = view.fit;
    ratio = Math.min(2, devicePixelRatio || 1);
    width = canvas.clientWidth;
    height = canvas.clientHeight;
    canvas.width = Math.max(1, Math.round(width * ratio));
    canvas.height = Math.max(1, Math.round(height * ratio));
    image = new ImageData(canvas.width, canvas.height);
    pixels = new Int32Array(image.data.buffer);
    view.fit = Math.max(40, Math.min(width, height) - 48);
    if (was === 1) { fit(); return; }
    view.scale *= view.fit / was;
    view.left = width / 2 - middle[0] * view.scale;
    view.top = height / 2 - middle[1] * view.scale;
    draw();
  };
  const fit = () => {
    view.scale = view.fit;
    // A map that is wider than high fills the frame.
    let [x0, x1, y0, y1] = [1, 0, 1, 0];
    for (let i = 0; i < n; i++) { x0 = Math.min(x0, px[i]); x1 = Math.max(x1, px[i]); y0 = Math.min(y0, py[i]); y1 = Math.max(y1, py[i]); }
    const room = Math.min((width - 48) / Math.max(x1 - x0, 0.05), (height - 48) / Math.max(y1 - y0, 0.05));
    view.scale = Math.max(view.scale, Math.min(room, 3 * view.fit));
    view.left = width / 2 - view.scale * (x0 + x1) / 2;
    view.top = height / 2 - view.scale * (y0 + y1) / 2;
    draw();
  };
  const zoom = (factor, x = width / 2, y = height / 2) => {
    const scale = Math.min(MOST_ZOOM * view.fit, Math.max(0.5 * view.fit, view.scale * factor));
    view.left = x - (x - view.left) * scale / view.scale;
    view.top = y - (y - view.top) * scale / view.scale;
    view.scale = scale;
    move();
  };
  const pan = (dx, dy) => { view.left += dx; view.top += dy; move(); };
  const screenX = (i) => px[i] * view.scale + view.left, screenY = (i) => py[i] * view.scale + view.top;
  const reveal = (i) => {
    const x = screenX(i), y = screenY(i), edge = 24;
    pan(x < edge ? edge - x : Math.min(0, width - edge - x), y < edge ? edge - y : Math.min(0, height - edge - y));
  };

  // ---- drawing: 100,000 dots go into an image by hand, which no canvas call is as fast as.
  let current = -1, shown = [], selected = null, outline = null, asked = false;
  const draw = () => { if (!asked) { asked = true; requestAnimationFrame(paint); } };
  // While a map of many dots moves on a slow machine, a part of them is drawn, of no meaning either;
  // all are once it rests.
  let moves = false, share = 1, rest = 0;
  const move = () => {
    if (n > MANY) {
      moves = true;
      clearTimeout(rest);
      rest = setTimeout(() => { moves = false; draw(); }, 150);
    }
    draw();
  };
  const radius = () => {
    const room = Math.sqrt(view.fit * view.fit * 0.1 / n);
    return Math.min(7, Math.max(1.1, Math.min(5, room) * Math.sqrt(view.scale / view.fit))) * ratio;
  };
  const makeStamp = (r) => {
    const half = Math.ceil(r), at = [], cover = [];
    for (let y = -half; y <= half; y++) for (let x = -half; x <= half; x++) {
      const part = Math.min(1, Math.max(0, r + 0.5 - Math.hypot(x, y)));
      if (part > 0) { at.push(y * canvas.width + x); cover.push(part); }
    }
    return { half, at: Int32Array.from(at), cover: Float32Array.from(cover) };
  };
  const stamp = (r, opacity, wants) => {
    const { half, at, cover } = makeStamp(r), w = canvas.width, h = canvas.height, code = codes[chosen];
    const scale = view.scale * ratio, left = view.left * ratio, top = view.top * ratio, size = at.length;
    const parts = Int32Array.from(cover, (part) => Math.round(256 * part * opacity));
    // In an order of no meaning, so that no group lies on top of all others.
    const stride = n % 7919 ? 7919 : 1, last = moves ? Math.ceil(n * share) : n;
    for (let j = 0, i = 0; j < last; j++, i = (i + stride) % n) {
      if (wants && !wants[i]) continue;
      const x = Math.round(px[i] * scale + left), y = Math.round(py[i] * scale + top);
      if (x < half || y < half || x >= w - half || y >= h - half) continue;
      const color = palette[code[i]], redBlue = color & 0xff00ff, green = color & 0xff00, middle = y * w + x;
      for (let q = 0; q < size; q++) {
        const p = middle + at[q], under = pixels[p], a = parts[q];
        // Red and blue at once, with room between them for what multiplying carries over.
        pixels[p] = -16777216
          | (Math.imul(under & 0xff00ff, 256 - a) + Math.imul(redBlue, a)) >>> 8 & 0xff00ff
          | (Math.imul(under & 0xff00, 256 - a) + Math.imul(green, a)) >>> 8 & 0xff00;
      }
    }
  };
  const ring = (i, size, color, thick = 2.5) => {
    pen.strokeStyle = color;
    pen.lineWidth = thick;
    pen.beginPath();
    pen.arc(screenX(i), screenY(i), size, 0, 7);
    pen.stroke();
  };
  const paint = () => {
    asked = false;
    if (!pixels) return;
    const began = performance.now(), [r, g, b] = toBytes(css("card")), size = radius();
    pixels.fill(-16777216 | b << 16 | g << 8 | r);
    stamp(size, selected ? 0.16 : 0.82);
    if (selected) stamp(size * 1.15, 0.95, selected);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.putImageData(image, 0, 0);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const dot = size / ratio;
    if (isNear) {
      pen.strokeStyle = css("soft");
      pen.lineWidth = 1;
      for (const i of shown.slice(1)) { pen.beginPath(); pen.moveTo(screenX(shown[0]), screenY(shown[0])); pen.lineTo(screenX(i), screenY(i)); pen.stroke(); }
      for (const i of shown.slice(1)) ring(i, dot + 2.5, css("text"), 1.5);
    }
    if (find("map-pictures").checked) drawPictures();
    writeLabels();
    if (current >= 0) { ring(current, dot + 5, css("card"), 5); ring(current, dot + 5, css("bad"), 3); }
    if (outline) drawOutline();
    if (moves) share = Math.min(1, Math.max(0.1, share * 16 / (performance.now() - began)));
  };
  // Pictures at their dots, as many as do not overlap.
  const small = new Map(), SIDE = 46;
  const loadPictures = () => Promise.all(Object.entries(data.pictures).map(async ([i, uri]) => {
    const one = Object.assign(new Image(), { src: uri });
    await one.decode();
    small.set(Number(i), one);
  })).then(draw);
  const drawPictures = () => {
    const taken = new Map(), key = (column, row) => column * 4096 + row;
    pen.lineWidth = 2;
    for (const [i, one] of small) {
      const x = screenX(i), y = screenY(i), column = Math.floor(x / SIDE), row = Math.floor(y / SIDE);
      if ((selected && !selected[i]) || x < -SIDE || y < -SIDE || x > width + SIDE || y > height + SIDE) continue;
      let free = true;
      for (let a = column - 1; a <= column + 1; a++) for (let b = row - 1; b <= row + 1; b++) {
        const other = taken.get(key(a, b));
        if (other && Math.abs(other[0] - x) < SIDE && Math.abs(other[1] - y) < SIDE) free = false;
      }
      if (!free) continue;
      taken.set(key(column, row), [x, y]);
      const scale = (SIDE - 4) / Math.max(one.naturalWidth, one.naturalHeight), w = one.naturalWidth * scale, h = one.naturalHeight * scale;
      pen.drawImage(one, x - w / 2, y - h / 2, w, h);
      pen.strokeStyle = `rgb(${colors[codes[chosen][i]]})`;
      pen.strokeRect(x - w / 2, y - h / 2, w, h);
    }
  };
  const writeLabels = () => {
    pen.font = "600 12px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    const taken = [];
    for (const { x, y, away, text } of labels) {
      const half = pen.measureText(text).width / 2 + 3, at = x * view.scale + view.left, down = (y - 1.4 * away) * view.scale + view.top - 14;
      if (at < half || at > width - half || down < 9 || down > height - 9) continue;
      if (taken.some((other) => Math.abs(other.at - at) < other.half + half && Math.abs(other.down - down) < 17)) continue;
      taken.push({ at, down, half });
      pen.strokeStyle = css("card");
      pen.lineWidth = 3.5;
      pen.strokeText(text, at, down);
      pen.fillStyle = css("text");
      pen.fillText(text, at, down);
    }
  };
  const drawOutline = () => {
    pen.strokeStyle = css("accent");
    pen.lineWidth = 1.5;
    pen.setLineDash([5, 4]);
    pen.beginPath();
    outline.forEach(([x, y]) => pen.lineTo(x, y));
    pen.closePath();
    pen.stroke();
    pen.setLineDash([]);
  };

  // ---- one dot
  const picture = find("pointed-image"), link = find("pointed-link");
  const hrefOf = (uri) => {
    if (/^https?:\/\//i.test(uri)) return uri;
    return uri.startsWith("/") ? "file://" + uri.split("/").map(encodeURIComponent).join("/") : "";
  };
  const point = (i) => {
    current = i;
    picture.hidden = !data.pictures[i];
    picture.src = data.pictures[i] || "data:,";
    picture.alt = short[i];
    find("pointed-none").hidden = !picture.hidden;
    find("pointed-none").textContent = "no picture in this page";
    find("pointed-name").textContent = short[i];
    find("pointed-value").textContent = `${data.colorings[chosen].name}: ${nameOf(i)}`;
    find("pointed-note").textContent = uris[i];
    link.hidden = !hrefOf(uris[i]);
    link.href = hrefOf(uris[i]);
    draw();
  };
  const pick = (x, y) => {
    let best = -1, least = HIT * HIT;
    for (let i = 0; i < n; i++) {
      const dx = px[i] * view.scale + view.left - x, dy = py[i] * view.scale + view.top - y, away = dx * dx + dy * dy;
      if (away < least) { least = away; best = i; }
    }
    return best;
  };

  // ---- the sheet: images that were selected, or the nearest to one
  let isNear = false, more = 0;
  const tiles = find("sheet-tiles");
  const addTile = (i, note) => {
    const tile = document.createElement("button");
    tile.type = "button";
    tile.className = "tile";
    tile.title = uris[i];
    tile.dataset.dot = i;
    if (data.pictures[i]) {
      const small = document.createElement("img");
      small.src = data.pictures[i];
      small.alt = "";
      tile.append(small);
    } else {
      const none = document.createElement("span");
      none.className = "gone";
      none.textContent = "no picture in this page";
      tile.append(none);
    }
    for (const [kind, text] of [["name", short[i]], ["note", note]]) {
      const line = document.createElement("span");
      line.className = kind;
      line.textContent = text;
      tile.append(line);
    }
    tiles.append(tile);
  };
  const addTiles = () => {
    for (const i of shown.slice(more, more + PAGE)) addTile(i, isNear ? (shown.indexOf(i) ? `nearest ${shown.indexOf(i)}` : "this one") : nameOf(i));
    more = Math.min(shown.length, more + PAGE);
    find("sheet-more").hidden = more >= shown.length;
    find("sheet-more").textContent = `Show more (${(shown.length - more).toLocaleString("en")} left)`;
  };
  const show = (dots, title, near) => {
    isNear = near;
    // Those with a picture come first, but for the nearest, whose order says something.
    shown = near ? dots : [...dots.filter((i) => data.pictures[i]), ...dots.filter((i) => !data.pictures[i])];
    const bare = shown.filter((i) => !data.pictures[i]).length;
    find("sheet-title").textContent = title;
    find("sheet-note").textContent = bare ? `${bare.toLocaleString("en")} of ${shown.length.toLocaleString("en")} have no picture in this page.` : "";
    find("sheet-uris").value = shown.map((i) => uris[i]).join("\n");
    find("sheet-copied").textContent = "";
    tiles.replaceChildren();
    more = 0;
    addTiles();
    find("sheet-actions").hidden = !shown.length;
    draw();
  };
  const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
  const select = (wants, what) => {
    const dots = [];
    for (let i = 0; i < n; i++) if (wants[i]) dots.push(i);
    selected = wants;
    show(dots, `${count(dots.length, "image")} ${what}`, false);
  };
  const showNearest = (i) => {
    point(i);
    selected = null;
    const near = nearestOf(i);
    show([i, ...near], near.length ? `The ${count(near.length, "nearest image").replace(/^1 /, "")} to ${short[i]}` : short[i], true);
  };
  const clear = () => {
    selected = null;
    find("map-search").value = "";
    show(data.first, "Some images of the map", false);
  };
  const filter = (test) => Uint8Array.from({ length: n }, (_, i) => test(i));
  const inside = (path) => {
    const xs = path.map(([x]) => x), ys = path.map(([, y]) => y);
    const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    return filter((i) => {
      const x = screenX(i), y = screenY(i);
      if (x < x0 || x > x1 || y < y0 || y > y1) return 0;
      let odd = 0;
      for (let a = 0, b = path.length - 1; a < path.length; b = a++) {
        if ((ys[a] > y) !== (ys[b] > y) && x < (xs[b] - xs[a]) * (y - ys[a]) / (ys[b] - ys[a]) + xs[a]) odd ^= 1;
      }
      return odd;
    });
  };

  // ---- the legend
  const legend = find("map-legend");
  const writeLegend = () => {
    const { name, labels: told } = data.colorings[chosen];
    legend.replaceChildren();
    if (!isNames()) {
      const bar = document.createElement("span"), ends = document.createElement("span");
      bar.className = "ramp";
      bar.style.background = `linear-gradient(to right, ${Array.from({ length: 12 }, (_, i) => ramp(23 * i)).join(", ")})`;
      ends.className = "ends";
      for (const code of [0, 127, 253]) ends.append(Object.assign(document.createElement("span"), { textContent: told[code] ?? "" }));
      legend.append(bar, ends);
      return;
    }
    const counts = new Map();
    codes[chosen].forEach((code) => counts.set(code, (counts.get(code) || 0) + 1));
    [...told.keys(), OTHER, NONE].filter((code) => counts.has(code)).forEach((code) => {
      const text = code === OTHER ? "other values" : code === NONE ? (name === "island" ? "between islands" : "no value") : told[code];
      const entry = document.createElement("button"), spot = document.createElement("i");
      entry.type = "button";
      spot.style.background = `rgb(${colors[code]})`;
      entry.append(spot, `${text} `, Object.assign(document.createElement("small"), { textContent: counts.get(code).toLocaleString("en") }));
      entry.addEventListener("click", () => select(filter((i) => codes[chosen][i] === code), `with ${name} ${text}`));
      legend.append(entry);
    });
  };
  const recolorAll = () => { recolor(); writeLegend(); if (current >= 0) point(current); draw(); };

  // ---- mouse, touch and pen
  const tool = () => document.querySelector("input[name=map-tool]:checked").value;
  const at = (event) => [event.offsetX, event.offsetY];
  const fingers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, at(event));
    moved = 0;
    if (fingers.size === 1 && (tool() !== "move" || event.shiftKey)) outline = [at(event)];
    if (fingers.size > 1) outline = null;
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event), from = fingers.get(event.pointerId);
    if (!from) {
      const i = pick(x, y);
      canvas.style.cursor = i >= 0 ? "pointer" : "";
      if (i >= 0 && i !== current) point(i);
      return;
    }
    moved += Math.hypot(x - from[0], y - from[1]);
    if (fingers.size > 1) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1], away = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]);
      zoom(away([x, y]) / Math.max(1, away(from)), other[0], other[1]);
    } else if (outline) {
      const start = outline[0], last = outline[outline.length - 1];
      if (tool() === "box") outline = [start, [x, start[1]], [x, y], [start[0], y]];
      else if (Math.hypot(x - last[0], y - last[1]) > 4) outline.push([x, y]);
      draw();
    } else {
      pan(x - from[0], y - from[1]);
    }
    fingers.set(event.pointerId, [x, y]);
  });
  const release = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    const path = outline, stays = moved < 5 && event.type === "pointerup";
    outline = null;
    if (stays) {
      const i = pick(...at(event));
      if (i >= 0) showNearest(i);
      else clear();
    } else if (path && path.length > 2) {
      select(inside(path), "selected");
    }
    draw();
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("wheel", (event) => {
    // A page is scrolled past a map that nobody has touched; pinching comes with ctrlKey.
    if (document.activeElement !== canvas && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002) * (event.ctrlKey ? 4 : 1)), ...at(event));
  }, { passive: false });

  // ---- keys
  const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  const step = ([dx, dy]) => {
    if (current < 0) { point(data.first.length ? data.first[0] : 0); reveal(current); return; }
    // The nearest dot in that direction; what lies aside counts double.
    let best = -1, least = Infinity;
    for (let i = 0; i < n; i++) {
      const ahead = (px[i] - px[current]) * dx + (py[i] - py[current]) * dy;
      const aside = Math.abs((px[i] - px[current]) * dy) + Math.abs((py[i] - py[current]) * dx);
      if (ahead > 0 && ahead + 2 * aside < least) { least = ahead + 2 * aside; best = i; }
    }
    if (best >= 0) { point(best); reveal(best); }
  };
  const toggle = (i) => {
    const wants = selected ? selected.slice() : new Uint8Array(n);
    wants[i] = 1 - wants[i];
    if (wants.includes(1)) select(wants, "selected");
    else clear();
  };
  const keys = {
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: fit, Escape: clear,
    Enter: () => { if (current >= 0) showNearest(current); },
    " ": () => { if (current >= 0) toggle(current); },
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = ways[event.key];
    if (way && event.shiftKey) pan(-STEP * way[0], -STEP * way[1]);
    else if (way) step(way);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });

  // ---- buttons
  find("zoom-in").addEventListener("click", () => zoom(1.5));
  find("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
  find("zoom-fit").addEventListener("click", fit);
  find("map-color").addEventListener("change", (event) => { chosen = Number(event.target.value); recolorAll(); });
  find("map-pictures").addEventListener("change", () => (small.size ? draw() : loadPictures()));
  let waiting = 0;
  const search = () => {
    const words = find("map-search").value.trim().toLowerCase().split(/\s+/);
    if (words[0]) select(filter((i) => words.every((word) => lower[i].includes(word))), `named ${words.join(" ")}`);
    else clear();
  };
  find("map-search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 200); });
  tiles.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    showNearest(Number(tile.dataset.dot));
    reveal(current);
    tiles.firstElementChild.focus();
  });
  find("sheet-more").addEventListener("click", () => {
    const next = more;
    addTiles();
    tiles.children[next].focus();
  });
  find("sheet-clear").addEventListener("click", () => { clear(); canvas.focus(); });
  find("sheet-copy").addEventListener("click", async () => {
    const text = find("sheet-uris");
    try {
      await navigator.clipboard.writeText(text.value);
    } catch {
      // Not every browser lets a page that is a file write to the clipboard so.
      text.closest("details").open = true;
      text.select();
      document.execCommand("copy");
    }
    find("sheet-copied").textContent = `${count(shown.length, "uri")} copied`;
  });

  find("map-color").value = String(chosen);
  find("map-pictures").checked = n <= MOST_PICTURED;
  if (n <= MOST_PICTURED) await loadPictures();
  recolor();
  writeLegend();
  clear();
  new ResizeObserver(resize).observe(frame);
  isDark.addEventListener("change", recolorAll);
  frame.dataset.ready = "";
})();
