// What the tests ask of a page within the browser; given to it as a function of its arguments.
({
  // Texts that are hard to read: those whose contrast with what is behind them is below `least`.
  faint(least) {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    // Any colour that CSS can say, as numbers: drawn, and looked at.
    const known = new Map();
    const color = (text) => {
      if (!known.has(text)) known.set(text, drawn(text));
      return known.get(text);
    };
    const drawn = (text) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = "#000";
      canvas.fillStyle = text;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      return [r, g, b, a / 255];
    };
    const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
    const light = ([r, g, b]) => [r, g, b].map((one) => {
      const part = one / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    }).reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
    const contrast = (a, b) => {
      const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
      return (high + 0.05) / (low + 0.05);
    };
    // What is behind an element: of a gradient, each of its colours.
    const page = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18, 1] : [255, 255, 255, 1];
    const backs = new Map([[null, [page]]]);
    const behind = (element) => {
      if (!backs.has(element)) {
        const style = getComputedStyle(element);
        const gradient = style.backgroundImage.match(/(?:rgba?|color|oklab)\([^()]*\)/g);
        const layer = gradient ? gradient.map(color) : [color(style.backgroundColor)];
        backs.set(element, behind(element.parentElement)
          .flatMap((below) => layer.map((top) => over(top, below))));
      }
      return backs.get(element);
    };
    const seen = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })
      && !element.closest(".unseen, .skip") && getComputedStyle(element).clipPath === "none";
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const bad = [];
    let looked = 0;
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const element = node.parentElement;
      if (!node.data.trim() || element.closest("script, style, title, option") || !seen(element)) continue;
      const style = getComputedStyle(element);
      const svg = element instanceof SVGElement;
      const under = svg
        ? [color(getComputedStyle(element.parentElement.querySelector("rect")).fill)] : behind(element);
      const ink = color(svg ? style.fill : style.color);
      looked += 1;
      for (const back of under) {
        const found = contrast(over(ink, back), back);
        if (found < least) bad.push(`${found.toFixed(2)}: ${node.data.trim().slice(0, 40)} (${element.className})`);
      }
    }
    return { looked, bad: [...new Set(bad)] };
  },

  // Elements that reach beyond the right edge of the page, except within what scrolls by itself.
  wide() {
    const width = document.documentElement.clientWidth;
    const scrolls = (element) => {
      for (let at = element.parentElement; at; at = at.parentElement) {
        if (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(at).overflowX)) return true;
      }
      return false;
    };
    return [...document.body.querySelectorAll("*")]
      .filter((one) => one.getBoundingClientRect().right > width + 1 && !scrolls(one)
        && !one.closest(".unseen, svg"))
      .map((one) => one.outerHTML.slice(0, 120))
      .concat(document.documentElement.scrollWidth > width ? ["the page scrolls sideways"] : []);
  },
})
