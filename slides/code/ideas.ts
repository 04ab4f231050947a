export const ideas: { block: string, name: string, code: string, look: string }[] = []
