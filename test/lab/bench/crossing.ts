/** A value at a size; both on logarithmic scales. */
export interface Point {
  readonly at: number;
  readonly value: number;
}

/** Finds the crossing of two lines, interpolated between two common sizes. */
export interface Crossing {
  readonly at: number;
  /** True if the first is more expensive beyond it. */
  readonly isDearerAfter: boolean;
}

export function crossings(first: readonly Point[], second: readonly Point[]): Crossing[] {
  const both = first.flatMap(({ at, value }) => {
    const other = second.find((each) => each.at === at);
    return other === undefined ? [] : [{ at: Math.log(at), by: Math.log(value / other.value) }];
  });
  return both.slice(1).flatMap((right, index) => {
    const left = both[index]!;
    if (left.by > 0 === right.by > 0) return [];
    const share = left.by / (left.by - right.by);
    const at = Math.exp(left.at + share * (right.at - left.at));
    return [{ at, isDearerAfter: right.by > 0 }];
  });
}
