"use strict";
(() => {
  const data = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = [];

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  const layout = (more) => {
    const axis = { gridcolor: color("line"), linecolor: color("line"), zeroline: false, automargin: true, fixedrange: true };
    const { xaxis, yaxis, ...rest } = more;
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      font: { color: color("soft"), family: "system-ui, sans-serif", size: 12 },
      margin: { l: 10, r: 10, t: 10, b: 10 },
      hoverlabel: { bgcolor: color("card"), bordercolor: color("line"), font: { color: color("text") } },
      ...rest, xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis },
    };
  };

  // Plotly takes a few tags in labels for formatting; names are to be shown as they are.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  const draw = (id, make) => {
    const element = document.getElementById(id);
    if (!element || !data[id]) return null;
    const render = () => {
      const [traces, more] = make(data[id]);
      return Plotly.react(element, traces, layout(more), { displayModeBar: false, responsive: true });
    };
    drawn.push(render);
    render();
    return element;
  };

  const bars = ({ names, values, unit }) => [[{
    type: "bar", orientation: "h", y: names.map(plain), x: values, marker: { color: color("accent") },
    hovertemplate: `%{x:,} ${unit}<extra></extra>`,
  }], { xaxis: { title: { text: unit } }, yaxis: { autorange: "reversed", type: "category" }, bargap: 0.35 }];

  draw("throughput", ({ x, y, width }) => [[{
    type: "bar", marker: { color: color("accent") }, x, y, width, hovertemplate: "%{y:,.1f} images/s after %{x} s<extra></extra>",
  }], { xaxis: { title: { text: "seconds into the run" } }, yaxis: { rangemode: "tozero", title: { text: "images/s" } } }]);
  draw("effort", bars);
  draw("failures", bars);
  draw("formats", bars);
  draw("sizes", ({ edges, counts }) => [[{
    type: "bar", x: edges.slice(0, -1).map((edge, i) => (edge + edges[i + 1]) / 2), y: counts,
    width: counts.map((_, i) => edges[i + 1] - edges[i]), marker: { color: color("accent"), line: { color: color("ground"), width: 1 } },
    customdata: counts.map((_, i) => [edges[i], edges[i + 1]]),
    hovertemplate: "%{y:,} images of %{customdata[0]:,} to %{customdata[1]:,} pixels<extra></extra>",
  }], { xaxis: { title: { text: "pixels" } }, yaxis: { title: { text: "images" } } }]);
  draw("confusion", ({ classes, counts }) => {
    const names = classes.map(plain);
    const most = Math.max(...counts.flat());
    const every = { type: "category", showgrid: false, dtick: classes.length > 60 ? null : 1, tickfont: { size: 10 } };
    return [[{
      type: "heatmap", x: names, y: names, z: counts, zmin: 0, zmax: most, xgap: 1, ygap: 1, showscale: false,
      colorscale: [[0, color("shade")], [1, color("accent")]],
      hovertemplate: "%{y}, taken for %{x}: %{z}<extra></extra>",
    }], {
      xaxis: { ...every, tickangle: -60, title: { text: "predicted" } },
      yaxis: { ...every, autorange: "reversed", title: { text: "true" } },
    }];
  });

  let current = -1;
  const ring = ({ x, y }) => (current < 0 ? { x: [], y: [] } : { x: [x[current]], y: [y[current]] });
  const map = draw("map", ({ density, x, y }) => [[
    {
      type: "heatmap", z: density.z, x0: density.x0, dx: density.dx, y0: density.y0, dy: density.dy, zsmooth: "best",
      showscale: false, hoverinfo: "skip", opacity: 0.55, colorscale: [[0, color("card")], [1, color("accent")]],
    },
    { type: "scatter", mode: "markers", x, y, hoverinfo: "none", marker: { size: 7, color: color("text"), opacity: 0.75, line: { width: 1, color: color("card") } } },
    { type: "scatter", mode: "markers", ...ring({ x, y }), hoverinfo: "skip", marker: { size: 17, symbol: "circle-open", color: color("bad"), line: { width: 3 } } },
  ], {
    hovermode: "closest", hoverdistance: 30, margin: { l: 0, r: 0, t: 0, b: 0 },
    xaxis: { visible: false }, yaxis: { visible: false },
  }]);

  if (map) {
    const { x, y, names, uris, pictures } = data.map;
    const image = document.getElementById("pointed-image");
    const point = (i) => {
      current = i;
      image.hidden = !pictures[i];
      image.src = pictures[i] || "data:,";
      image.alt = names[i];
      document.getElementById("pointed-name").textContent = names[i];
      document.getElementById("pointed-note").textContent = uris[i];
      Plotly.restyle(map, { x: [[x[i]]], y: [[y[i]]] }, [2]);
    };
    const pointAt = ({ points }) => {
      const dot = points.find((one) => one.curveNumber === 1);
      if (dot && dot.pointIndex !== current) point(dot.pointIndex);
    };
    map.on("plotly_hover", pointAt);
    map.on("plotly_click", pointAt);
    const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const span = (values) => Math.max(...values) - Math.min(...values) || 1;
    const scale = [span(x), span(y)];
    map.addEventListener("keydown", (event) => {
      const way = ways[event.key];
      if (!way) return;
      event.preventDefault();
      if (current < 0) { point(0); return; }
      // The nearest dot in that direction; what lies aside counts double.
      let best = -1, least = Infinity;
      x.forEach((_, i) => {
        const dx = (x[i] - x[current]) / scale[0], dy = (y[i] - y[current]) / scale[1];
        const ahead = dx * way[0] + dy * way[1], aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
        if (i !== current && ahead > 0 && ahead + 2 * aside < least) { least = ahead + 2 * aside; best = i; }
      });
      if (best >= 0) point(best);
    });
  }

  dark.addEventListener("change", () => drawn.forEach((render) => render()));
})();
