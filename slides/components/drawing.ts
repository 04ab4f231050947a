// What the drawings share; how they look is in styles/deck.css.

/** Whether one of these parts is lit. Without `active`, or past the last part, all are. */
export const litBy = (props: { active?: number }, last: number) => (...parts: number[]) =>
  props.active === undefined || props.active > last || parts.includes(props.active)

/** Numbers from 0 to 1 (Lehmer's): a fixed sequence, not chance, so that a drawing never changes. */
export function sequence(state: number) {
  return () => (state = (state * 16807) % 2147483647) / 2147483647
}
