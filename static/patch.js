// Make a node's children equal to new ones, and touch only what differs: a selection, an open
// detail or the focus in what stays the same survives.

export function patchChildren(node, fresh) {
  const wanted = [...fresh.childNodes];
  wanted.forEach((next, index) => {
    const old = node.childNodes[index];
    if (!old) node.append(next);
    else if (!patch(old, next)) old.replaceWith(next);
  });
  while (node.childNodes.length > wanted.length) node.lastChild.remove();
}

// False if the old node cannot become the new one.
function patch(old, next) {
  if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName) return false;
  if (old.nodeType === Node.TEXT_NODE) return patchText(old, next.data);
  if (!sameAttributes(old, next)) return false;
  patchChildren(old, next);
  return true;
}

function patchText(old, text) {
  if (text === old.data) return true;
  if (text.startsWith(old.data)) old.appendData(text.slice(old.data.length));
  else old.data = text;
  return true;
}

function sameAttributes(old, next) {
  const names = next.getAttributeNames();
  const isSame = (name) => old.getAttribute(name) === next.getAttribute(name);
  return names.length === old.getAttributeNames().length && names.every(isSame);
}
